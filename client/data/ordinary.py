"""Ordinary words that are also names, or begin with one: what a name that is no more than such a word is held against.

A patient may be called Das, Le, Mai or 高. The name must go, and the text must stay readable: so these words are taken
for the name only where they are written as one. The lists are short on purpose: what stands in none of them is always
taken for the name.
"""

from __future__ import annotations

import re

# Parts of names that are also everyday words or titles: sought together with the rest of the name, and alone only where
# they are all of a family or a given name, and then only where they are written as a name.
PARTICLES = frozenset(
    re.findall(
        r"\w+",
        "al bin da das de del della den der des di do dos du el ibn la las le les los of san st ten ter the van vom "
        "von y zu zum zur und et e",
    )
)
TITLES = frozenset("dr prof md phd mr mrs ms miss jr sr ii iii iv herr frau mme mlle monsieur madame sir med".split())
# Articles, pronouns, prepositions and verbs of English, German and French that people are called too.
FUNCTION_WORDS = frozenset(
    (
        "a i am an and are as at be but by can do for go has he her him his how in is it may me my no not of on or "
        "our she so the to up us was we who will you "
        "ab am an auf aus bei bin da das dem den der des die du ein er es hat ich ihr im in ist ja mit nur ob sie so "
        "um und war was wie wo zu "
        "a au aux ce ces de des du elle en es est et eu il je la le les leur lui ma me mes mi moi mon ne ni on ou par "
        "pas peu qui sa se ses si son sur ta te toi ton tu un une va vu y"
    ).split()
)
MONTHS = {
    word: number
    for number, words in enumerate(
        (
            "january januar janvier jan janv janner", "february februar fevrier feb fevr fev feber",
            "march marz maerz mars mar mrz", "april avril apr avr", "may mai", "june juni juin jun",
            "july juli juillet jul juil", "august aout aug", "september septembre sep sept",
            "october oktober octobre oct okt", "november novembre nov", "december dezember decembre dec dez",
        ),
        start=1,
    )
    for word in words.split()
}  # fmt: skip
_BEFORE_MONTH = re.compile(
    r"(?:(?<![\d/.,])\d\d?(?:st|nd|rd|th|er|\.)?|\b(?:im|in|ab|seit|bis|vom|anfang|mitte|ende|of|en|since|until|till|early|mid|late|last|"
    r"next|this|by|from|from the|du|de|fin|debut|monat|month|mois de|letzten|nachsten|diesen|jeden|every))[\s.-]*$"
)
_AFTER_MONTH = re.compile(r"[\s.,'-]*(?:\d{1,2}\b|(?:19|20)\d\d|bis\b|to\b|und (?:im )?juni\b)")

# Clinical words of Chinese with ideographs that are family or given names: 高 in 高血压 is not the patient.
_IDEOGRAPHIC = (
    "高血压 高血糖 高血脂 高脂血症 高尿酸 高热 高烧 高密度 高信号 高危 高度 高级 高蛋白 高钾 高钠 高分辨 高频 "
    "升高 增高 偏高 身高 最高 较高 提高 低信号 明显 明确 说明 表明 证明 查明 透明 阐明 声明 白细胞 白蛋白 白色 "
    "白血病 白内障 苍白 蛋白 空白 黄疸 黄色 黄染 黄体 金黄 红细胞 血红 红肿 潮红 红斑 泛红 正常 异常 常规 经常 "
    "通常 日常 常见 结石 胆石 石蜡 钙化 小时 时间 同时 有时 及时 随时 暂时 时有 按时 小便 大便 大小 小叶 小肠 "
    "小脑 减小 缩小 最小 小于 大于 增大 肿大 扩大 由于 位于 低于 高于 对于 关于 等于 至于 属于 处于 于今 入院 "
    "静脉 静息 安静 静滴 静推 静注 增强 加强 强化 强直 强度 过敏 敏感 超声 超过 超敏 体温 温度 低温 平坦 平片 "
    "平扫 平均 平卧 水平 平稳 平素 血平 不平 心脏 心率 心电 心音 心肌 心房 心室 心包 心悸 心律 中心 肝门 肝胆 "
    "肺门 马上 金属 资金 毛玻璃 绒毛 毛细 江段 森林 方面 方法 方案 处方 下方 上方 前方 后方 右方 左方 对方 何时 "
    "任何 如何 安全 不安 治安 安排 文字 文献 清楚 清晰 清除 清醒 血清 清创 伟哥 建议 国内 国际 全国 中国 军人 "
    "亮度 回声 丽江 华法林 阿莫西林 西林 林区 阳性 阴性 阳光 春季 秋季 夏季 冬季 冬天 花粉 花斑 兰尾 芳香 香烟 "
    "洋地黄 平喘 成人 成分 形成 完成 组成 康复 健康 史无 病史 家族史 既往史 过敏史 个人史 手术史 史诗 周围 周边 "
    "两周 一周 周后 每周 上周 下周 孕周 周期 段落 节段 肠段 阶段 雷诺 雷米 钱币 孔径 穿孔 瞳孔 孔洞 严重 严密 "
    "严格 万分 十万 百万 千克 万元 易感 容易 路径 道路 通路 尿路 关节 机关 相关 有关 关闭 古老 连接 连续 项目 "
    "事项 各项 颈项 童年 儿童 龙胆 恐龙 贺尔蒙 余无 其余 残余 剩余 余未 左右 左侧 左肺 左心 左肾 左叶 左下 左上 "
    "右侧 右肺 右心 右下 右上 支气管 干净 干燥 能力 压力 视力 听力 肌力 张力 主张 扩张 紧张 舒张 夸张 一张 张口 "
    "王浆 霸王 女王 国王 胃杨 桃李 行李 陈旧 陈述 新陈代谢 留置 保留 水肿 水样 积水 排水 冰水 水泡 口腔 胸腔 "
    "东西 东部 南部 北部 西部 西药 中药 中度 中等 其中 手术中 集中 年龄 今年 去年 每年 多年 年后 月后 天后 天前 "
    "每天 今天 明天 昨天 一般 一次 一侧 一个 一天 第一 单一 统一 进一步 子宫 卵子 电子 分子 离子 因子 孩子 肚子 "
    "之后 之前 之间 生长 生命 生理 生化 医生 发生 先生"
).split()
ORDINARY_IDEOGRAPHIC = tuple(sorted(set(_IDEOGRAPHIC), key=lambda word: (-len(word), word)))
COMPOUND_SURNAMES = frozenset(
    (
        "欧阳 歐陽 司马 司馬 上官 诸葛 諸葛 夏侯 东方 東方 尉迟 皇甫 慕容 令狐 公孙 公孫 轩辕 长孙 宇文 司徒 司空 "
        "端木 独孤 南宫 西门 百里 呼延"
    ).split()
)


HAN = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han characters, in a class of a pattern


def is_ideograph(sign: str) -> bool:
    """A Han character."""
    return "\u3400" <= sign <= "\u9fff" or "\U00020000" <= sign <= "\U0003ffff" or "\uf900" <= sign <= "\ufaff"


def is_month_here(before: str, word: str, after: str) -> bool:
    """Whether a folded word that names a month stands as the month: `im Mai`, `3 May`, `June 2019`."""
    return word in MONTHS and bool(_BEFORE_MONTH.search(before[-24:]) or _AFTER_MONTH.match(after))

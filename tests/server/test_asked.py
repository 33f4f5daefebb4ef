"""Messages to several nodes, and the answers as they come: each once, under its node, until the last one is there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from flwr.app import Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from common.messages import MESSAGE_TYPES, ActivityRequest, new_message, to_records
from server.run.exchange import Asked


class Post:
    """Takes Flower's messages, and hands the answers of these nodes out at each look; each once, as Flower does."""

    def __init__(self, comes: list[set[int]]) -> None:
        self.comes, self.sent = comes, dict[str, Message]()
        self.asked_for: list[list[str]] = []

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        for message in messages:
            self.sent[f"id {message.metadata.dst_node_id}"] = message
        return list(self.sent)

    def pull_messages(self, names: list[str]) -> list[Message]:
        self.asked_for.append(list(names))
        now = self.comes.pop(0) if self.comes else set()
        found = [(name, self.sent[name]) for name in names if self.sent[name].metadata.dst_node_id in now]
        answers = []
        for name, message in found:
            message.metadata.__dict__["_message_id"] = name
            answers.append(Message(RecordDict(), reply_to=message))
        return answers


@given(st.sets(st.integers(1, 9), max_size=6), st.lists(st.sets(st.integers(1, 9)), max_size=6))
def test_each_answer_is_fetched_once_and_stands_under_its_node(nodes: set[int], comes: list[set[int]]) -> None:
    kind = MESSAGE_TYPES[ActivityRequest]
    messages = {node: new_message(to_records(ActivityRequest("ab" * 8)), kind, node) for node in sorted(nodes)}
    post = Post(list(comes))
    asked, there = Asked(cast(Any, post), messages), set[int]()
    for now in comes:
        assert asked.all_came == (there == nodes)
        new = asked.look()
        assert set(new) == (now & nodes) - there
        assert post.asked_for[-1] == [f"id {node}" for node in sorted(nodes - there)]  # no more than is open
        there |= set(new)
        assert asked.came.keys() == there
        assert all(answer.metadata.src_node_id == node for node, answer in asked.came.items())
    assert asked.all_came == (there == nodes)

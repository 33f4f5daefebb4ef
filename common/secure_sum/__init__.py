"""The secure sum: many sites' vectors go in masked, only their sum comes out. Pure protocol, no I/O.

Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving Machine Learning", in its form against an
active server, with fresh keys for every sum. Read in this order:

    encoding        one encoding for every value; digests with a purpose
    secret          a value that cannot print, pickle or compare by accident
    thresholds      how many sites a sum needs
    messages        what goes over the wire
    key_agreement   X25519 and HKDF
    secret_sharing  Shamir over a prime field
    dealing         a site's two secrets, split and sealed for their holders
    transcript      T: what all sites must have seen alike before their masks cancel
    masking         AES-256-CTR streams, added to words
    states          the order of the legs, as tables
    site, coordinator   the two halves
    fixed_point, packing   real numbers <-> words of the ring <-> bytes

Letters, as in the literature: R are the sites that hold shares, U1 those whose offers are used, U2 those whose masked
vectors arrived; t is the threshold, c the number of sites that may pool what they know. A site's two secrets of a sum
are its mask key `sk` (public part `pk`) and its self-mask seed `b`; its share key is `ek`.
"""

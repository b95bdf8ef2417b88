"""Receipts: boxes of one size that only the addressee can open."""

import pytest

from mosaik_actors import ConfigError, ReceiptKey, seal
from mosaik_actors.deployment.receipts import _suite, box_size

SIZE = 64


def test_only_the_addressee_opens_a_box() -> None:
    keys = [ReceiptKey.generate() for _ in range(3)]
    texts = [b"", b"landed", b"x" * (SIZE - 2)]
    boxes = [
        seal(text, to=key.public, size=SIZE, context="mixer")
        for text, key in zip(texts, keys, strict=True)
    ]
    assert {len(box) for box in boxes} == {box_size(SIZE)}
    for key, text in zip(keys, texts, strict=True):
        opened = [key.open(box, context="mixer") for box in boxes]
        assert [one for one in opened if one is not None] == [text]
        assert [key.open(box, context="other") for box in boxes] == [None] * 3


def test_a_box_that_was_changed_is_nobodys() -> None:
    key = ReceiptKey.generate()
    box = seal(b"landed", to=key.public, size=SIZE)
    for at in (0, 31, 32, len(box) - 1):
        changed = box[:at] + bytes([box[at] ^ 1]) + box[at + 1 :]
        assert key.open(changed) is None
    assert [key.open(box[:size]) for size in range(len(box))] == [None] * len(box)
    assert key.open(bytes(len(box))) is None  # a point of low order
    assert ReceiptKey(bytes(key)).open(box) == b"landed"


def test_boxes_show_nothing_twice() -> None:
    key = ReceiptKey.generate()
    one, other = (seal(b"landed", to=key.public, size=SIZE) for _ in range(2))
    assert one[:32] != other[:32]
    assert one[32:] != other[32:]


def test_wrong_arguments_are_refused() -> None:
    key = ReceiptKey.generate()
    with pytest.raises(ConfigError, match="a receipt of 63 bytes, at most 62"):
        seal(b"x" * 63, to=key.public, size=SIZE)
    with pytest.raises(ConfigError, match="size is 2"):
        seal(b"", to=key.public, size=2)
    for public in (b"short", bytes(32)):
        with pytest.raises(ConfigError, match="no public key"):
            seal(b"", to=public, size=SIZE)
    with pytest.raises(ConfigError, match="32 bytes, got 3"):
        ReceiptKey(b"abc")
    assert key.public.hex()[:10] in repr(key)
    assert bytes(key).hex() not in repr(key)


def test_the_suite_is_that_of_rfc_9180() -> None:
    """RFC 9180 appendix A.2.1: the first encryption of the base mode, with an empty aad here.

    The appendix's own ciphertext has an aad, which a single-shot box has not; so what it
    gives for the key and the nonce is used to encrypt the same text.
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    secret = "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb"
    encapsulated = "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"
    info = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
    key = bytes.fromhex("ad2744de8e17f4ebba575b3f5f5a8fa1f69c2a07f6e7500bc60ca6e3e3ec1c91")
    nonce = bytes.fromhex("5c4d98150661b848853b547f")
    text = b"Beauty is truth, truth beauty"
    box = bytes.fromhex(encapsulated) + ChaCha20Poly1305(key).encrypt(nonce, text, b"")
    private = X25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    assert _suite().decrypt(box, private, info) == text

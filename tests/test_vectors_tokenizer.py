"""The recorded outcomes of encoding and decoding."""

import pytest
import vectors
from ways import WAYS, working


@pytest.fixture(autouse=True, scope="module", params=WAYS)
def way(request):
    with working(request.param):
        yield


def special_option(value):
    return value if value == "all" else set(value)


def has_surrogate(text):
    return any("\ud800" <= character <= "\udfff" for character in text)


def test_all_vectors_are_there():
    assert len(vectors.load("encode")) == 559
    assert len(vectors.load("decode")) == 50


@pytest.mark.parametrize("vector", vectors.load("encode"))
def test_encode(encoding, vector):
    options = {
        "allowed_special": special_option(vector["allowed_special"]),
        "disallowed_special": special_option(vector["disallowed_special"]),
    }
    if "error" in vector:
        with pytest.raises(Exception) as raised:
            encoding.encode(vector["text"], **options)
        vectors.check_error(raised.value, vector["error"])
        return
    assert encoding.encode(vector["text"], **options) == vector["tokens"]
    assert encoding.encode_to_numpy(vector["text"], **options).tolist() == vector["tokens"]
    if not has_surrogate(vector["text"]):
        assert encoding.decode(vector["tokens"]) == vector["text"]


DECODERS = {
    "replace": lambda encoding, tokens: encoding.decode(tokens, errors="replace"),
    "ignore": lambda encoding, tokens: encoding.decode(tokens, errors="ignore"),
    "strict": lambda encoding, tokens: encoding.decode(tokens, errors="strict"),
    "decode_utf8": lambda encoding, tokens: encoding.decode_utf8(tokens),
}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("vector", vectors.load("decode"))
def test_decode(encoding, vector, decoder):
    if decoder in vector:
        assert DECODERS[decoder](encoding, vector["tokens"]) == vector[decoder]
        return
    with pytest.raises(Exception) as raised:
        DECODERS[decoder](encoding, vector["tokens"])
    vectors.check_error(raised.value, vector[f"{decoder}_error"])


@pytest.mark.parametrize("vector", vectors.load("decode"))
def test_is_special_token(encoding, vector):
    fitting = [token for token in vector["tokens"] if 0 <= token < 2**32]
    assert [encoding.is_special_token(token) for token in fitting] == vector["is_special"]

"""Fixtures, and the settings of hypothesis.

HARMONY_EXAMPLES          multiplies every number of random examples (see scale.py)
HARMONY_REQUIRE_ORACLE=1  a missing official package is a failure instead of a skip (see oracles.py)
"""

import signal

import hypothesis
import oracles
import pytest
from scale import scaled

import harmony

# Tests of Ctrl-C start processes of their own. Background jobs of a shell ignore that signal, and
# so would what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: a slow machine or the debug build is no failure. The health check that looks at the
# clock goes with it.
hypothesis.settings.register_profile(
    "harmony",
    max_examples=scaled(200),
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("harmony")


@pytest.fixture(scope="session")
def encoding():
    return harmony.load_harmony_encoding("HarmonyGptOss")


@pytest.fixture(scope="session")
def tokenizer():
    return harmony.get_tokenizer("o200k_harmony")


@pytest.fixture(scope="session")
def base_tokenizer():
    return harmony.get_tokenizer("o200k_base")


@pytest.fixture(scope="session")
def ranks():
    """token -> rank, read out of our own package; `rank_file` proves that it is the published
    vocabulary."""
    return oracles.ranks()


@pytest.fixture(scope="session")
def token_texts(ranks):
    """The tokens that are valid UTF-8, as text, by rank."""
    return oracles.token_texts()


@pytest.fixture(scope="session")
def tiktoken_harmony():
    return oracles.tiktoken_encoding("o200k_harmony")


@pytest.fixture(scope="session")
def tiktoken_base():
    return oracles.tiktoken_encoding("o200k_base")


@pytest.fixture(scope="session")
def upstream(tmp_path_factory):
    return oracles.upstream_encoding(tmp_path_factory.mktemp("upstream"))

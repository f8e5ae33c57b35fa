"""Both newer APIs that are served: errors, any text cut anywhere, any body whatever."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura.server.apis.base import ApiError, ServedApi
from tests.support.api_server import (
    ASKED,
    HELLO,
    MESSAGES,
    RESPONSES,
    answered,
    claude,
    gpt,
    read,
)

# ---- OpenAI's responses: a request


def test_an_error_has_the_form_of_its_api():
    said = ApiError(400, "`model` is missing", code="missing", param="model")

    assert RESPONSES.error_body(said) == {
        "error": {
            "message": "`model` is missing",
            "type": "invalid_request_error",
            "param": "model",
            "code": "missing",
        }
    }
    assert MESSAGES.error_body(said) == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "`model` is missing"},
        "request_id": None,
    }


# ---- any text, cut anywhere; any body


def refusal(api: ServedApi, body: dict[str, Any]) -> ApiError | None:
    try:
        read(api, body)
    except ApiError as error:
        return error
    return None


@settings(max_examples=20)
@given(st.lists(st.text(min_size=0), min_size=1, max_size=6))
def test_any_text_cut_anywhere_arrives_through_both_clients_as_it_was(pieces):
    whole = "".join(pieces)
    played: dict[str, Any] = {"answer": answered(whole), "pieces": tuple(pieces), "asides": True}

    with claude(**played) as (client, _), client.messages.stream(**HELLO) as messages:
        theirs = [b.text for b in messages.get_final_message().content]
    asked: dict[str, Any] = {"model": "m", "input": "Why?"}
    with gpt(**played) as (client, _), client.responses.stream(**asked) as responses:
        other = responses.get_final_response().output_text

    assert theirs == ([whole] if whole else [])
    assert other == whole


@given(st.dictionaries(st.text(), st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)))  # fmt: skip
def test_no_body_whatever_ends_in_anything_but_a_call_or_a_refusal(junk):
    for api, good in ((MESSAGES, ASKED), (RESPONSES, {"model": "m", "input": "Why?"})):
        for body in (junk, good | junk, junk | dict.fromkeys(good, junk)):
            error = refusal(api, body)
            assert error is None or error.status == 400


@given(st.data())
def test_known_parameters_with_any_value_are_taken_or_refused(data):
    values = st.sampled_from(
        [None, 0, -1, 1.5, "", "x", True, [], ["x"], [{}], {}, {"type": "x"}, [{"type": "x"}], [[]]]
    )
    for api, good in ((MESSAGES, ASKED), (RESPONSES, {"model": "m", "input": "Why?"})):
        name = data.draw(st.sampled_from(api.REQUEST_TYPE.__struct_fields__))
        error = refusal(api, good | {name: data.draw(values)})
        assert error is None or (error.param or name).startswith(name)

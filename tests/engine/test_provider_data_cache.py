"""What a turn leaves behind is remembered for its client alone, and not for ever."""

from __future__ import annotations

from mixtura import Message, ToolCall
from mixtura.core.types import ProviderData
from mixtura.engine.provider_data_cache import ProviderDataCache
from tests.support.strict_upstream import asked, second


def remembered(memory, client="me", call="t1", arguments="{}", text="x"):
    data = ProviderData("o", {"reasoning_content": text})
    said = Message("assistant", "", (ToolCall(call, "look", arguments),), provider_data=data)
    memory.remember_answer(client, asked(), said)


def recalled(memory, client="me", call="t1", arguments="{}"):
    said = Message("assistant", "", (ToolCall(call, "look", arguments),))
    found = memory.restore_request(client, second(asked(), said)).messages[1].provider_data
    return found and found.fields["reasoning_content"]


def test_a_turn_is_remembered_for_its_client_alone():
    memory = ProviderDataCache()
    remembered(memory)

    assert recalled(memory) == "x"
    assert recalled(memory, client="you") is None
    assert recalled(memory, call="t2") is None


def test_calls_with_the_same_id_are_told_apart_by_what_they_say():
    memory = ProviderDataCache()
    for number in range(3):
        remembered(memory, call="call_0", arguments=f'{{"at": {number}}}', text=str(number))

    for number in range(3):
        assert recalled(memory, call="call_0", arguments=f'{{"at":{number}}}') == str(number)
    assert recalled(memory, call="call_0", arguments='{"at":7}') is None


def test_the_memory_is_bounded_in_number_size_and_age():
    now = [0.0]
    few = ProviderDataCache(most=10, clock=lambda: now[0])
    small = ProviderDataCache(most_bytes=10_000, clock=lambda: now[0])
    for number in range(50):
        remembered(few, call=f"t{number}")
        remembered(small, call=f"t{number}", text="y" * 1000)
    same = ProviderDataCache(most=10)
    for number in range(50):
        remembered(same, call="call_0", arguments=f"[{number}]")

    def there(memory):
        return [n for n in range(50) if recalled(memory, call=f"t{n}")]

    assert there(few) == list(range(40, 50))
    assert there(small)[-1] == 49
    assert len(there(small)) < 10
    assert sum(bool(recalled(same, call="call_0", arguments=f"[{n}]")) for n in range(50)) <= 10
    now[0] = 25 * 3600.0
    assert there(few) == []


def test_calls_that_a_client_leaves_out_or_puts_in_another_order_lose_nothing_of_the_others():
    memory = ProviderDataCache()
    calls = [
        ToolCall(f"t{n}", "look", f'{{"at": {n}}}', {"thought_signature": f"s{n}"}) for n in "12"
    ]
    data = ProviderData("o", {"reasoning_content": "x"})
    memory.remember_answer(
        "me", asked(), Message("assistant", "", tuple(calls), provider_data=data)
    )

    def found(*sent, client="me"):
        said = Message("assistant", "", tuple(ToolCall(*row) for row in sent))
        message = memory.restore_request(client, second(asked(), said)).messages[1]
        return [call.provider_fields.get("thought_signature") for call in message.tool_calls]

    one, two = ("t1", "look", '{"at":1}'), ("t2", "look", '{"at":2}')
    assert found(two) == ["s2"]
    assert found(two, one) == ["s2", "s1"]
    assert found(one, ("t3", "look", "{}")) == ["s1", None]
    assert found(("t2", "look", '{"at":3}')) == [None]  # another call of that number
    assert found(two, client="you") == [None]

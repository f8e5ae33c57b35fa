"""The team as it is changed on the page: seats, their personas and sampling, models by name."""

from __future__ import annotations

from tests.support import page_world

browser = page_world.browser
upstream = page_world.upstream
served = page_world.served
visit = page_world.visit


def open_seat(person, name):
    """The settings of a seat, opened."""
    person.button("Change the mixture").click()
    person.button(name).click()
    return person.page.get_by_role("group", name=name)


def test_seats_are_told_what_the_page_says_and_a_reopened_run_selects_it_again(upstream, visit):
    person = visit().ready()
    first = open_seat(person, "Proposer 1: persona and sampling")
    first.get_by_label("Persona").fill("Doubt everything.")
    first.get_by_label("Temperature").fill("1.5")
    person.button("Aggregator: persona and sampling").click()
    last = person.page.get_by_role("group", name="Aggregator: persona and sampling")
    last.get_by_label("Persona").fill("One table.")
    dear = person.text("#plan .most")
    last.get_by_label("Max tokens").fill("40")
    person.wait(f"!document.querySelector('#plan .most').textContent.includes('{dear}')")
    person.button("Proposer 1: persona and sampling").click()
    assert "“Doubt everything.”, temperature 1.5" in person.text(".seatsaid")
    person.find("#plan.ready").wait_for()
    person.button("Done").click()
    person.ask().answered()

    ann, ben, chief = (upstream.of(name)[-1].body for name in ("ann", "ben", "chief"))
    assert ann["temperature"] == 1.5
    assert "Doubt everything." in ann["messages"][0]["content"]
    assert "Doubt" not in str(ben)
    assert chief["max_tokens"] == 40
    assert "One table." in chief["messages"][0]["content"]

    again = visit().ready(person.page.url.removeprefix(person.url))
    again.find(".totals").wait_for()
    again.button("Change the mixture").click()
    again.find(".seatsaid", has_text="Doubt everything.").wait_for()
    again.find(".seatsaid", has_text="“One table.”, max tokens 40").wait_for()


def test_a_model_is_found_by_typing_with_its_price_and_a_near_miss_is_named(visit):
    person = visit().ready()
    person.button("Change the mixture").click()
    field = person.page.get_by_role("combobox", name="Proposer 1: model")
    field.fill("")
    field.type("l")
    options = person.find(".modellist [role=option]")
    assert "cleo" in " ".join(options.all_inner_texts())
    assert "ann" not in [text.split("\n")[0] for text in options.all_inner_texts()]
    field.fill("cle")
    assert options.all_inner_texts() == ["cleo\n$1.00 in, $2.00 out"]
    field.press("ArrowDown")
    field.press("Enter")
    assert field.input_value() == "cleo"
    assert options.count() == 0

    field.fill("mallroy")
    person.find(".near").get_by_role("button", name="mallory").click()
    assert field.input_value() == "mallory"
    person.find("#plan.ready").wait_for()
    person.complaints[:] = [c for c in person.complaints if "status of 40" not in c]


def test_a_changed_team_is_saved_under_a_name_and_is_in_the_list_at_once(upstream, visit):
    person = visit().ready()
    second = open_seat(person, "Proposer 2: persona and sampling")
    second.get_by_label("Persona").fill("Count twice.")
    person.find("#plan.ready").wait_for()
    person.button("Save as a preset").click()
    person.page.get_by_label("Name of the preset").fill("deep")
    person.button("Save", exact=True).click()
    person.find(".savepreset [role=alert]", has_text="something else here").wait_for()
    person.page.get_by_label("Name of the preset").fill("careful")
    person.button("Save", exact=True).click()
    person.find(".toast", has_text="Saved as careful").wait_for()
    assert person.find("#preset").input_value() == "careful"
    assert person.find("#preset optgroup").first.locator("option[value=careful]").count() == 1
    assert "“Count twice.”" in person.page.locator(".tuner").inner_text() or second.is_visible()
    person.button("One draft more").first.click()
    person.find("#plan.ready", has_text="4 calls").wait_for()
    person.button("Save as a preset").click()
    person.page.get_by_label("Name of the preset").fill("careful")
    person.button("Save", exact=True).click()
    person.button("Replace it").click()
    person.find("#preset option[value=careful]", has_text="4 calls").wait_for(state="attached")
    person.find(".savepreset").wait_for(state="detached")
    person.button("Done").click()
    person.ask().answered()
    assert "Count twice." in str(upstream.of("ben")[-1].body)
    person.complaints[:] = [c for c in person.complaints if "status of 40" not in c]

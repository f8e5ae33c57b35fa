"""Pictures and text files go with a question: chosen, pasted, dropped, kept, and seen again."""

from __future__ import annotations

from base64 import b64decode

from tests.support import page_world

browser = page_world.browser
served = page_world.served
upstream = page_world.upstream
visit = page_world.visit

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TRANSFER = """(kind) => {
  const data = new DataTransfer();
  data.items.add(new File(["a line\\n<script>window.pwned=1</script>"], "<b>notes</b>.txt"));
  const event = kind === "paste" ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true })
    : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
  document.getElementById("question").dispatchEvent(event);
}"""


def test_files_are_chosen_pasted_and_dropped_sent_along_and_shown_again(upstream, visit):
    person = visit().ready()
    chooser = person.find("input[type=file]")
    chooser.set_input_files(
        [
            {"name": "dot.png", "mimeType": "image/png", "buffer": b64decode(PIXEL)},
            {"name": "bad.bin", "mimeType": "application/x", "buffer": b"\xff\xfe\x00"},
        ]
    )
    person.find(".toast", has_text="bad.bin was not attached").wait_for()
    person.page.evaluate(TRANSFER, "paste")
    person.page.evaluate(TRANSFER, "drop")
    names = person.find(".composer .attached li span")
    person.wait("document.querySelectorAll('.composer .attached li').length === 3")
    assert names.all_inner_texts() == ["dot.png", "<b>notes</b>.txt", "<b>notes</b>.txt"]
    person.button("Remove <b>notes</b>.txt").last.click()
    person.button("Change the mixture").click()
    person.page.get_by_label("Instructions for all of them").fill("Be brief.")
    person.button("Done").click()
    person.ask("What is on it?").answered()

    system, asked = upstream.of("ann")[0].body["messages"]
    assert (system["role"], system["content"]) == ("system", "Be brief.")
    said = '<file name="<b>notes</b>.txt">\na line\n<script>window.pwned=1</script>\n</file>\n\n'
    assert asked["content"][0] == {"type": "text", "text": said + "What is on it?"}
    assert asked["content"][1]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
    assert person.find(".composer .attached").count() == 0

    def shown() -> None:
        assert person.text(".question") == "What is on it?"
        assert "<b>notes</b>.txt" in person.find(".turn .attached").inner_text()

    shown()
    picture = person.page.get_by_role("img", name="Picture 1 of the question")
    assert picture.evaluate("e => e.naturalWidth") == 1
    person.page.reload()
    person.find(".pictures", has_text="a picture, not kept").wait_for()  # as records have it
    shown()
    assert person.page.evaluate("window.pwned") is None
    person.ask("And again?")
    person.find(".turn").nth(1).locator(".totals").wait_for()
    history = upstream.of("ann")[1].body["messages"]
    assert [one["role"] for one in history] == ["system", "user", "assistant", "user"]
    assert history[1]["content"] == said + "What is on it?"
    person.requests[:] = [url for url in person.requests if not url.startswith("data:image/png")]

"""Whatever stands in the store of a server, its routes say so in words and go on."""

from __future__ import annotations

import json
import sqlite3
import zlib

from tests.support.serving import serving, team
from tests.support.upstream import Script, running

USER = [{"role": "user", "content": "Why?"}]
FORM = (
    '--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--B\r\n'
    'Content-Disposition: form-data; name="file"; filename="f"\r\n\r\n{}\n\r\n--B--\r\n'
)
DEEP = zlib.compress(b"[" * 5000)
DAMAGE = [
    ("responses", "size", b"\xff"), ("responses", "size", -1), ("responses", "body", DEEP),
    ("responses", "body", zlib.compress(b'{"response": {"id": "x"}, "items": 1}')),
    ("files", "created", float("-inf")), ("files", "size", 2**62), ("files", "size", -1),
    ("file_parts", "number", 7), ("file_parts", "body", 2**40), ("file_parts", "body", "{}"),
    ("choices", "body", b"\xff"), ("choices", "body", zlib.compress(b"{}")),
    ("choices", "choice", "both"), ("choices", "body", DEEP),
]  # fmt: skip


def test_no_value_in_the_store_makes_a_route_fail_without_words(tmp_path):
    with running() as upstream:
        upstream.scripts = {name: Script(f"{name} says so.") for name in ("a", "b", "chief")}
        with serving(tmp_path, team(upstream, "a", "b", "chief")) as server:

            def begin(model, place=""):
                body = {"model": model, "messages": USER, "stream": True}
                run = server.post(f"/api/runs{place}", body).json["run"]
                server.get(f"/api/runs/{run}/events")
                return run

            run = begin("team")
            beside = begin("a", f"?beside={run}")
            choice = {"run": run, "beside": beside, "choice": "tie"}
            assert server.post("/api/choices", choice).status == 200
            response = server.post("/v1/responses", {"model": "a", "input": "x"}).json["id"]
            kind = "multipart/form-data; boundary=B"
            data = FORM.format(json.dumps({"custom_id": "1"})).encode()
            file = server.post("/v1/files", data, Content_Type=kind).json["id"]
            asked = {"model": "a", "input": "y", "previous_response_id": response, "store": False}
            paths = [f"/v1/responses/{response}", f"/v1/responses/{response}/input_items"]
            paths += ["/v1/files", f"/v1/files/{file}", f"/v1/files/{file}/content", "/api/choices"]
            choices = [f"/api/choices/{one}" for one in ("labels", "against", "outputs")]
            paths += [f"{one}?mixture=team&model=a" for one in choices]
            sound = {path: server.get(path).status for path in paths}
            sound["post"] = server.post("/v1/responses", asked).status

            path = next(tmp_path.rglob("*.sqlite"))
            store = sqlite3.connect(path, timeout=30, isolation_level=None)
            for table, column, value in DAMAGE:
                rows = store.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
                store.execute(f"UPDATE {table} SET {column} = ?", (value,))
                replies = {path: server.get(path) for path in paths}
                replies["post"] = server.post("/v1/responses", asked)
                for path, reply in replies.items():
                    assert reply.status in (200, 404, 503), (table, column, path, reply.body)
                    assert reply.status != 503 or b"damaged" in reply.body, reply.body
                for row, before in rows:
                    store.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (before, row))
            store.close()
            assert set(sound.values()) == {200}
            assert {path: server.get(path).status for path in paths} | {"post": 200} == sound
            assert "Traceback" not in (tmp_path / "log").read_text()

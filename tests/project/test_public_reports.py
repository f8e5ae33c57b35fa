"""Other projects' public bug reports, tried: docs/explanation/public-reports.md lists them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mixtura import ConfigError, MixturaError
from mixtura.evals.rows import read_rows
from mixtura.evals.tasks import gsm8k, humaneval, math
from mixtura.llama import model_file
from tests.conftest import run
from tests.support import tiny_gguf
from tests.support.paths import ROOT
from tests.support.provider_streams import answered, calls, events
from tests.support.serving import serving, team
from tests.support.upstream import Script, running

# Inspect and what it stands on warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")
DOCS = ROOT / "docs" / "explanation" / "public-reports.md"


# ---- what providers send


def chunk(delta=None, finish=None, **more):
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"choices": [choice], **more}


def call(arguments, **more):
    function = {"name": "f", "arguments": arguments}
    return {
        "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": function}],
        **more,
    }


ZERO = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
SPENT = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
FULL = {"code": 502, "message": "Worker local total request limit reached (33/32)"}
TEXT, ANSWER = [chunk({"role": "assistant", "content": "Hel"}), chunk({"content": "lo"})], "Hello"

LAST_PIECE = {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}

STREAMS = {
    "googleapis/python-genai#2868": (
        [chunk(call('{"x": 1}')), chunk(finish="stop"), "[DONE]"],
        {"finish": "tool_calls", "calls": [("f", {"x": 1})]},
    ),
    "router-for-me/CLIProxyAPI#3077": (
        [one | {"usage": ZERO} for one in TEXT] + [chunk(finish="stop", usage=SPENT), "[DONE]"],
        {"text": ANSWER, "tokens": (9, 4)},
    ),
    "odysseus-dev/odysseus#1703": (
        [*TEXT, chunk({"role": "assistant", "content": None}, "stop", usage=SPENT), "[DONE]"],
        {"text": ANSWER, "tokens": (9, 4)},
    ),
    "vllm-project/vllm#35705": (
        [TEXT[0], chunk({"content": "lo"}, "length"), "[DONE]"],
        {"text": ANSWER, "finish": "length"},
    ),
    "vllm-project/vllm-ascend#8327": (
        [chunk(call('{"x"')), chunk(LAST_PIECE, "tool_calls"), "[DONE]"],
        {"finish": "tool_calls", "calls": [("f", {"x": 1})]},
    ),
    "jjang-ai/vmlx#219": (
        [*[chunk(tool_call_generating=True)] * 5, chunk(call("{}")), chunk(finish="tool_calls"),
         "[DONE]"],
        {"finish": "tool_calls", "calls": [("f", {})]},
    ),
    "vercel/ai#6687": (
        [chunk(call("")), chunk(finish="tool_calls"), "[DONE]"],
        {"finish": "tool_calls", "calls": [("f", {})]},
    ),
    "vercel/ai#2548": (
        [chunk({"role": None, "content": "Hello", "tool_calls": None}, None, usage=None),
         chunk({"role": None, "content": None}, "stop"), "[DONE]"],
        {"text": ANSWER, "finish": "stop"},
    ),
    "alfredapp/openai-workflow#52": (
        [*TEXT, "[DONE]"], {"error": "without a finish reason"},
    ),
    "CommandCodeAI/command-code#785": (
        [chunk(call('{"x": "half of')), ], {"error": "ended"},
    ),
    "diegosouzapw/OmniRoute#8210": (
        [{"choices": [], "error": FULL}, "[DONE]"], {"error": "33/32"},
    ),
    "damianvtran/local-operator#223": (
        [TEXT[0], chunk({"content": ""}, "error", error=FULL), "[DONE]"], {"error": "33/32"},
    ),
    "paiml/aprender#2015": (
        [*(f"data: {json.dumps(one)}" for one in (*TEXT, chunk(finish="stop"))), "data: [DONE]"],
        {"text": ANSWER},
    ),
    "openai/openai-python#663": (
        ["".join(map(json.dumps, TEXT)), chunk(finish="stop"), "[DONE]"], {"text": ANSWER},
    ),
    "openai/openai-python#1230": (
        [json.dumps(chunk({"content": "a\u2028b"}), ensure_ascii=False), chunk(finish="stop"),
         "[DONE]"],
        {"text": "a\u2028b"},
    ),
    "apache/rocketmq-dashboard#2178": (
        [{"error": {"message": "quota exceeded"}}, "[DONE]"], {"error": "quota exceeded"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("report", STREAMS)
def test_a_stream_that_a_provider_was_reported_for_is_read_for_what_it_is(report):
    rows, right = STREAMS[report]
    if "error" in right:
        with pytest.raises(MixturaError, match=re.escape(right["error"])):
            answered(events(*rows))
        return
    completion, shown = answered(events(*rows))

    assert shown == completion.text == right.get("text", "")
    assert completion.finish_reason == right.get("finish", "stop")
    assert calls(completion) == right.get("calls", [])
    if "tokens" in right:
        usage = completion.usage
        assert (usage.prompt_tokens, usage.completion_tokens) == right["tokens"]


# ---- what clients send


SAID = "Light scatters, blue most."
ASK = [{"role": "user", "content": "Why is the sky blue?"}]
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALLED = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "42.69"}
USED = [
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]}
]


def messages(*more, **body):
    return "/v1/messages", {"max_tokens": 5000, "messages": [*ASK, *more], **body}


def chat(*more, **body):
    return "/v1/chat/completions", {"messages": [*ASK, *more], **body}


REQUESTS = {
    "anthropics/claude-code#31033": messages(tools=[TOOL | {"defer_loading": True}]),
    "anthropics/claude-code#89211": messages(
        *USED,
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1",
         "content": [{"type": "tool_reference", "tool_name": "g"}]}]},
        tools=[TOOL, TOOL | {"name": "g", "defer_loading": True}],
    ),
    "anthropics/claude-code#68551": messages(
        thinking={"type": "adaptive", "display": "omitted"}, output_config={"effort": "xhigh"}
    ),
    "cline/cline#261": messages(
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    ),
    "anomalyco/opencode#41860": chat(
        {"role": "assistant", "content": "Hm.", "tool_calls": []}, ASK[0], tools=[]
    ),
    "lmstudio-ai/lmstudio-bug-tracker#261": chat(
        {"role": "assistant", "content": None, "tool_calls": [CALLED]}, RESULT,
        tools=[FUNCTION], parallel_tool_calls=False,
    ),
    "OpenAgentsInc/openagents#6233": chat(
        {"role": "assistant", "content": [{"type": "text", "text": "Hm."}], "tool_calls": [CALLED]},
        RESULT | {"content": [{"type": "text", "text": "42.69"}]}, tools=[FUNCTION],
    ),
    "cline/cline#14351": chat(reasoning={"effort": "none"}, stream_options=None),
    "maathimself/mailflow#401": chat(max_tokens=5),
    "openai/codex#24973": (
        "/v1/responses",
        {"input": [{"type": "message", "role": "user", "id": "msg_1", "content":
          [{"type": "input_text", "text": "Why?"}]}], "store": False, "include": [], "tools": [],
         "reasoning": None, "prompt_cache_key": "k", "client_metadata": {"a": "b"}},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with running(lambda _: Script(SAID)) as upstream:
        configuration = team(upstream, "a", "chief")
        with serving(tmp_path_factory.mktemp("reports"), configuration) as server:
            yield server, upstream


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("report", REQUESTS)
def test_a_request_that_another_server_was_reported_for_is_answered(report, stream, served):
    server, upstream = served
    path, body = REQUESTS[report]

    reply = server.post(path, body | {"model": "default", "stream": stream})

    assert reply.status == 200, reply.body
    written = reply.body.decode()
    assert all(word in written for word in SAID.split())  # a stream may have it in pieces
    sent = upstream.of("chief")[-1].body
    for message in sent["messages"]:
        assert message.get("tool_calls") != [], "DeepSeek takes no empty list of calls"
    assert sent.get("tools") != []


# ---- what is in files, and in answers


NUMBERS = {
    "sgl-project/sglang#29933": (
        "So 9 * 2 = 18.\n#### 18\n\nQuestion: Tom has 5.\n#### 42", "18", False,
    ),
    "stanford-crfm/helm#4337": (
        "The answer is 72, in total, so the farmer earns that much.", "72", True,
    ),
    "jundot/omlx#3484": ("The total is 72 clips, altogether.", "72", True),
    "EleutherAI/lm-evaluation-harness#3214": ("the total cost of the order is $29.00.", "29", True),
    "google-deepmind/proeval#19": ("It fell from 2 to 1 by 4. The answer is -3.", "#### -3", True),
}  # fmt: skip
ALGEBRA = {
    "huggingface/Math-Verify#14": [
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}", False),
        (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}", False),
        ("n=2, 3, 4", "n=1, 2, 3", False), ("D = (0, 1)", "D = (0, 1.5)", False),
        (r"19, 46, \text{ and } 82", "21, 36, and 82", False), (r"\pm 2021", "2021", False),
        (r"1 - \frac{1}{\mathrm{e}}", r"1 + \frac{1}{\mathrm{e}}", False), ("12:00", "1:00", False),
        (r"\frac{2^{2005}+1}{3 \cdot 2^{2006}}", r"\frac{1}{3 \cdot 2^{2006}}", False),
    ],
    "huggingface/Math-Verify#47": [
        ("1331 and 1728", "1728", False), ("1331, 1728", "1728, 1331", True),
    ],
    "huggingface/Math-Verify#64": [(r"\sqrt{1/n}", r"\frac{1}{\sqrt{n}}", False)],
    "huggingface/Math-Verify#61": [
        (r"28\%", "28 percent", True), (r"28\%", r"28\text{ percent}", True),
    ],
    "huggingface/Math-Verify#41": [("4", r"4\sqrt{2}", False), ("4", r"4\sqrt(2)", False)],
    "EleutherAI/lm-evaluation-harness#3652": [
        (r"1 \pm \sqrt{19}", r"1 + \sqrt{19}, 1 - \sqrt{19}", True),
        (r"\text{east}", r"\text{East}", True), (r"10,\!080", "10080", True),
        (r"\text{(C)}", "C", True), (r"864 \mbox{ inches}^2", "864", True),
        (r"5.4 \text{ cents}", "5.4", True), (r"\frac{11+9a}{20}", r"\dfrac{9a + 11}{20}", True),
        ("58,500", "58500", True), ("12", r"12^{\text{th}}", True),
        (r"x \in [-2,7]", "[-2, 7]", True), (r"15\mbox{ cm}^2", "15", True),
        (r"\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}",
         r"\begin{pmatrix} -\dfrac{1}{3} \\ \dfrac{2}{3} \\ \dfrac{5}{3} \end{pmatrix}", True),
    ],
}  # fmt: skip
BOXES = {"huggingface/Math-Verify#44": [
    ("could answer therefore\\boxed{840}.,but let me\n\n**Final Answer**\n\\boxed{840}", "840"),
    ("the sum is 2,552,004. So, \\boxed{004} is it.\n\n**Final Answer**\n\\boxed{004}", "4"),
]}  # fmt: skip


@pytest.mark.parametrize("report", NUMBERS)
def test_a_number_that_another_checker_was_reported_for_is_judged_rightly(report):
    reply, target, right = NUMBERS[report]

    assert (gsm8k.extract_fraction(reply) == gsm8k.extract_fraction(target)) == right, (
        gsm8k.extract_fraction(reply)
    )


@pytest.mark.parametrize("report", ALGEBRA)
def test_mathematics_that_another_checker_was_reported_for_is_judged_rightly(report):
    for target, answer, right in ALGEBRA[report]:
        assert run(math.compare_answers(answer, target))[0] == right, (target, answer)


def test_a_box_that_stands_twice_is_read_once():
    for reply, target in BOXES["huggingface/Math-Verify#44"]:
        assert run(math.compare_answers(math.last_boxed(reply), target))[0]


PROGRAMS = {
    "noonghunna/benchlocal-cli#120": ("def f(x):\n    return [x]\n```", "def f(x):\n"),
    "EleutherAI/lm-evaluation-harness#3710": (
        "def f(x):\n    return [x]\n```\nThis puts x into a list.", "def f(x):\n",
    ),
    "paiml/aprender#1635": (
        "```python\ndef f(x: str) -> List[str]:\n    return [x]\n```",
        "from typing import List\n\n\ndef f(x: str) -> List[str]:\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("report", PROGRAMS)
def test_a_program_that_another_checker_was_reported_for_is_found_and_runs(report):
    reply, prompt = PROGRAMS[report]
    written = humaneval.extract_program(reply, prompt, "f")
    names: dict[str, object] = {}

    exec(f"{humaneval.prompt_helpers(prompt, 'f')}\n{written}", names)

    assert names["f"]("a") == ["a"]


ROWS = [
    {"input": "a", "target": "b", "about": {"x": 1}, "when": "2025-07-01T10:00:00"},
    {"input": "(...) ,action: string, datetime: timestamp[s]", "target": "c", "about": {"y": "2"}},
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
FILES = {
    "huggingface/datasets#8241": "\ufeff" + LINES,
    "huggingface/datasets#1784": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "huggingface/datasets#7664": LINES,
}


@pytest.mark.parametrize("report", FILES)
def test_rows_that_another_reader_was_reported_for_are_read_as_they_are(report, tmp_path):
    (tmp_path / "rows.jsonl").write_text(FILES[report], encoding="utf-8")

    assert [one.row for one in read_rows(str(tmp_path / "rows.jsonl"))] == ROWS


def test_model_files_that_other_programs_were_reported_for_are_loaded_or_told(tmp_path):
    parts = tiny_gguf.split(tmp_path, 2)
    (renamed := tmp_path / "llama.gguf").write_bytes(parts[0].read_bytes())
    (pointer := tmp_path / "m.gguf").write_text("version https://git-lfs.github.com/spec/v1\n")

    assert model_file.check_model_file(parts[1]) == parts[0]  # Michael-A-Kuykendall/shimmy#170
    with pytest.raises(ConfigError, match="one of the 2 parts"):  # ggml-org/llama.cpp#9613
        model_file.check_model_file(renamed)
    with pytest.raises(ConfigError, match="git lfs pull"):  # ollama/ollama#5245
        model_file.check_model_file(pointer)


# ---- the page that lists them


def test_every_report_that_is_listed_is_tried_here_and_every_one_tried_is_listed():
    tried = set(re.findall(r"[\w.-]+/[\w.-]+#\d+", Path(__file__).read_text(encoding="utf-8")))
    sections = re.split(r"^## ", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    listed = [re.findall(r"^\| ([\w.-]+/[\w.-]+#\d+) \|", part, re.MULTILINE) for part in sections]

    assert set().union(*listed) == tried
    assert all(len(part) >= 10 for part in listed)

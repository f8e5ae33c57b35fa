"""Wrong inputs as data: what was typed or written, the exit code, and what has to be said."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mixtura.cli import main

CANARY = "sk-proj-canaryWrongInput0a1b2c3d"
"""A key that stands in every environment, and in some files and commands: it is never shown."""

MODEL = """[models.m]
model = "x"
base_url = "http://127.0.0.1:9/v1"
retries = 0
"""
TEAM = MODEL + '[mixtures.team]\nlayers = [["m"]]\naggregator = "m"\n'


@dataclass(frozen=True)
class Row:
    """One wrong input."""

    words: tuple[str, ...]
    said: tuple[str, ...]
    """Pieces of what must be said."""
    file: str = f'default = "team"\n{TEAM}'
    code: int = 2
    env: dict[str, str] = field(default_factory=dict[str, str])
    stdin: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])


def _checked(file: str, *said: str) -> Row:
    return Row(("config", "check"), said, file)


def _model(body: str, *said: str) -> Row:
    return _checked(f"{MODEL}{body}\n", *said)


def _team(body: str, *said: str) -> Row:
    return _checked(f"{MODEL}[mixtures.team]\n{body}\n", *said)


FILES = {
    # ---- TOML
    "a text without quotation marks": _checked(
        "default = lite\n", ":1: not valid TOML", 'a string needs quotation marks: default = "lite"'
    ),
    "a table that is not closed": _checked("[models.m\nmodel = 1\n", ":1: not valid TOML", "']'"),
    "a name with a slash": _checked(
        "[models.openai/gpt]\n", ":1: not valid TOML", 'quotation marks: [models."openai/gpt"]'
    ),
    "curly quotation marks": _checked("default = \u201cm\u201d\n", ":1: not valid", "straight"),
    "a path with backslashes": _checked(
        'default = "C:\\Users\\m"\n', ":1: not valid TOML", "single quotes"
    ),
    "a key twice": _checked(
        'default = "m"\ndefault = "m"\n' + MODEL, ":2: not valid TOML", "already"
    ),
    "a text that is not closed": _checked('default = "m\n', ":1: not valid TOML", "quotation mark"),
    "an API key without quotation marks": _checked(
        f"[models.m]\napi_key = {CANARY}\n", ":2: not valid TOML", "quotation marks"
    ),
    "JSON": _checked('{"default": "m"}\n', ":1: not valid TOML"),
    "YAML": _checked("default: m\n", ":1: not valid TOML", "KEY = VALUE"),
    # ---- keys
    "a misspelt top key": _checked("modles = {}\n", ":1: unknown key 'modles'", "'models'"),
    "a misspelt table": _checked(
        '[mixture.team]\nlayers = [["m"]]\n', ":1: unknown key 'mixture'", "'mixtures'"
    ),
    "a misspelt setting of a model": _checked(
        '[models.m]\nmodel = "x"\nbase_ulr = "http://h"\n',
        ":3: models.m: unknown key 'base_ulr'", "'base_url'"
    ),
    "a key in the file": _model(
        f'api_key = "{CANARY}"', ":5: models.m: unknown key 'api_key'", "`api_key_env`",
        "never goes into",
    ),
    "a misspelt timeout": _model(
        "timeouts = { conect = 1 }", ":5: models.m.timeouts: unknown key 'conect'", "connect"
    ),
    "a misspelt limit": _model("limits = { concurency = 1 }", ":5:", "'concurrency'"),
    "a misspelt price": _model("price = { input = 1, ouput = 2 }", ":5:", "'output'"),
    "a misspelt setting of a server": _checked("[serve]\nprot = 1\n", ":2:", "'port'"),
    "a misspelt setting of the cache": _checked("[cache]\nday = 1\n", ":2:", "'days'"),
    "a misspelt budget": _checked("[budget]\nday_usb = 1\n", ":2:", "'day_usd'"),
    "a name with a dot and no quotation marks": _checked(
        '[models.qwen2.5]\nmodel = "x"\n', ":1:", 'in quotation marks: [models."qwen2.5"]'
    ),
    "an inline table under a key that does not exist": _checked(
        '[models.warm]\nmodel = "x"\nsampling = { temperature = 1 }\n',
        ":3: models.warm: unknown key 'sampling'",
    ),
    # ---- types and ranges
    "a text for a number": _model('window = "big"', ":5: models.m.window: expected a whole number"),
    "a number for a text": _checked("default = 5\n", ":1: default: expected a string"),
    "a word for true": _checked('[cache]\nuse = "yes"\n', ":2: cache.use: expected true or false"),
    "a negative cap": _checked("[budget]\nrun_usd = -1\n", ":2: budget.run_usd", ">= 0"),
    "an infinite cap": _checked("[budget]\nday_usd = inf\n", ":2: budget.day_usd", "finite"),
    "a port that none is": _checked("[serve]\nport = 99999\n", ":2: serve.port", "<= 65535"),
    "a cap that does what it cannot": _checked(
        '[budget]\nat_the_cap = "stop"\n', ":2:", "expected 'refuse' or 'degrade', got 'stop'"
    ),
    "a list for a table": _checked("models = []\n", ":1: models: expected a table, got a list"),
    "a share above one": _model("hedge = { share = 2 }", ":5: models.m.hedge.share", "<= 1"),
    "half a retry": _model("window = 1.5", ":5: models.m.window: expected a whole number"),
    "a seed of more than 64 bits": _team(
        'layers = [["m"]]\naggregator = "m"\nsampling = { seed = 9223372036854775808 }', ":8:"
    ),
    "more tokens than anyone writes": _team(
        'layers = [["m"]]\naggregator = "m"\nsampling = { max_tokens = 10000001 }',
        ":8:", "<= 10000000"
    ),
    "a temperature below zero": _team(
        'layers = [["m"]]\naggregator = "m"\nsampling = { temperature = -1 }', ":8:", ">= 0"
    ),
    # ---- models
    "no scheme": _checked(
        '[models.m]\nmodel = "x"\nbase_url = "localhost:8000/v1"\n',
        ":3:", "'http://localhost:8000/v1'"
    ),
    "no host": _checked(
        '[models.m]\nmodel = "x"\nbase_url = "http:///v1"\n', ":3:", "not the address of a server"
    ),
    "a port of an address that is none": _checked(
        '[models.m]\nmodel = "x"\nbase_url = "http://h:99999/v1"\n',
        ":3:", "not the address of a server"
    ),
    "a space behind an address": _checked(
        '[models.m]\nmodel = "x"\nbase_url = "http://h/v1 "\n', ":3:", "not the address"
    ),
    "no model": _checked('[models.m]\nbase_url = "http://h"\n', ":1:", "`model` is missing"),
    "a provider that none is": _checked(
        '[models.m]\nmodel = "x"\nprovider = "opnai"\n',
        ":3:", "unknown provider 'opnai'", "'openai'"
    ),
    "a setting of local models": _model("threads = 4", ":5:", "threads is for local models"),
    "a setting of hosted models": _checked(
        '[models.m]\nmodel = "smollm2-135m"\nretries = 9\n', ":3:", "retries is for hosted models"
    ),
    "a local model that none is": _checked(
        '[models.m]\nmodel = "qwen2.5-1b"\n', ":2:", "qwen2.5-1b", "qwen2.5-1.5b"
    ),
    "a model file that is not there": _checked('[models.m]\nmodel = "no.gguf"\n', ":2:", "no.gguf"),
    "a header of two lines": _model('headers = { X = "a\\nb" }', ":5:", "'X'", "line end"),
    "an extra that is set by Mixtura": _model(
        "extra = { stream = 1 }", ":5:", "'stream' is set by"
    ),
    "a key as the name of a variable": _model(
        f'api_key_env = "{CANARY}"', ":5:", "not the name of an environment variable"
    ),
    "a client key without its certificate": _model(
        'client_key = "k.pem"', ":5:", "set client_certificate"
    ),
    "a transport that none is": _model('transport = "curl"', ":5:", "choose one of", "built-in"),
    "a name that makes mixtures": _checked('[models."a*2"]\nmodel = "x.gguf"\n', ":1:", "'*'"),
    "a name that is taken": _checked('[models.auto]\nmodel = "x.gguf"\n', ":1:", "'auto'"),
    # ---- mixtures
    "no layers": _team('aggregator = "m"', ":5:", "`layers` is missing"),
    "no aggregator": _team('layers = [["m"]]', ":5:", "`aggregator` is missing"),
    "layers that are not lists": _team(
        'layers = ["m"]\naggregator = "m"', ":6:", "layers[0]: expected a list, got a string"
    ),
    "an empty layer": _team('layers = [[]]\naggregator = "m"', ":6:", "layer 1 is empty"),
    "a member that none is": _team(
        'layers = [["m", "n0"]]\naggregator = "m"', ":6:", "unknown model or mixture 'n0'"
    ),
    "a model of several providers": _team(
        'layers = [["gpt-oss-120b"]]\naggregator = "m"', ":6:", "'groq/openai/gpt-oss-120b'"
    ),
    "a star before no number": _team(
        'layers = [["m*x"]]\naggregator = "m"', ":6:", "'m*3'"
    ),
    "too many samples": _team('layers = [["m*5000"]]\naggregator = "m"', ":6:", "1 to 1,000"),
    "a quorum that no layer has": _team(
        'layers = [["m"]]\naggregator = "m"\nquorum = 3', ":8:", "quorum: 3"
    ),
    "a mixture in itself": _team('layers = [["team"]]\naggregator = "m"', ":6:", "itself"),
    "a pattern that none is": _team('pattern = "votes"\nlayers = [["m"]]', ":6:", "'vote'"),
    "a setting of another pattern": _team(
        'layers = [["m"]]\naggregator = "m"\nextract = "number"', ":8:", "belongs to 'adaptive'"
    ),
    "a synthesis that none is": _team(
        'layers = [["m"]]\naggregator = "m"\nsynthesis = "papr"', ":8:", "'paper'"
    ),
    "a default that none is": _checked(f'default = "tem"\n{TEAM}', ":1: default:", "'team'"),
    # ---- the server, the store, the caps
    "an origin without a scheme": _checked('[serve]\ncors = ["chat.example"]\n', ":2:", "SCHEME"),
    "a hash that none is": _checked(
        '[serve.keys.k]\nsha256 = "abc"\n', ":2: serve.keys.k.sha256", "--new-key"
    ),
    "a key that may use nothing": _checked(
        f'[serve.keys.k]\nsha256 = "{"a1" * 32}"\nmodels = []\n', ":3:", "may use nothing"
    ),
    "a cap of a key that no one has": _checked(
        "[budget.keys.GORQ_API_KEY]\nday_usd = 1\n", ":1:", "'GROQ_API_KEY'"
    ),
    "a database of another kind": _checked(
        'store = "mysql://h/d"\n', ":1: store:", "postgresql://"
    ),
    "a password in the store's address": _checked(
        'store = "postgresql://u:canaryPw123@h/d"\n', ":1: store:", "PGPASSWORD"
    ),
}  # fmt: skip

UNUSABLE = {
    "a file that is not there": Row(
        ("ask", "--config", "no.toml", "Why?"), ("--config", "no.toml")
    ),
    "a variable that names no file": Row(
        ("ask", "Why?"), ("MIXTURA_CONFIG", "gone.toml"), env={"MIXTURA_CONFIG": "gone.toml"}
    ),
    "a file that is no text": Row(
        ("ask", "--config", "b.toml", "Why?"), ("b.toml", "UTF-8"), files={"b.toml": b"\xff\xfe\0"}
    ),
    "a folder for a file": Row(("ask", "--config", ".", "Why?"), ("--config", "is a folder")),
    "a key that is not set": Row(
        ("ask", "-m", "gpt-5.4", "Why?"), ("OPENAI_API_KEY is not set in the environment",)
    ),
    "a key of one's own that is not set": Row(
        ("ask", "-m", "m", "Why?"), (":5:", "set OTHER_KEY in the environment"),
        f'{MODEL}api_key_env = "OTHER_KEY"\n',
    ),
    "a key with a line end": Row(
        ("ask", "-m", "m", "Why?"), ("the key in OTHER_KEY holds a line end",),
        f'{MODEL}api_key_env = "OTHER_KEY"\n', env={"OTHER_KEY": f"{CANARY}\n"},
    ),
    "an address of Azure that is not set": Row(
        ("ask", "-m", "azure/x", "Why?"), ("AZURE_OPENAI_ENDPOINT is not set",),
        env={"AZURE_OPENAI_API_KEY": CANARY},
    ),
    "a preset whose key is not set": Row(
        ("ask", "-m", "lite", "Why?"), ("the presets, line", "Qwen1.5", "TOGETHER_API_KEY")
    ),
}  # fmt: skip

WORDS = {
    "a command that none is": Row(("aks", "Why?"), ("No such command 'aks'", "'ask'")),
    "help as a command": Row(("help",), ("it is an option: mixtura --help",)),
    "a question for a command": Row(("Why is it?",), ('mixtura ask "Why is it?"',)),
    "no question": Row(("ask", ""), ("question is empty",)),
    "an option that none is": Row(("ask", "--modle", "m", "Why?"), ("No such option", "--modle")),
    "an option without its value": Row(("ask", "Why?", "-m"), ("requires an argument",)),
    "an empty name": Row(("ask", "-m", "", "Why?"), ("a name cannot be empty",)),
    "a name that none is": Row(("ask", "-m", "tem", "Why?"), ("-m: unknown", "'team'")),
    "a model without its provider": Row(
        ("ask", "-m", "kimi-k3", "Why?"), ("needs its provider before it", "fireworks/kimi-k3"),
    ),
    "a provider that none is": Row(("ask", "-m", "opnai/gpt-5.4", "Why?"), ("'openai/gpt-5.4'",)),
    "a key for a model": Row(("ask", "-m", CANARY, "Why?"), ("API key", "environment")),
    "a mixture of two ends": Row(
        ("ask", "-m", "m>m,m", "Why?"), ("PROPOSER,PROPOSER*2>AGGREGATOR",)
    ),
    "a mixture and proposers": Row(("ask", "-m", "team", "-p", "m", "Why?"), ("-m", "-p")),
    "layers without proposers": Row(("ask", "--layers", "3", "Why?"), ("--layers goes with -p",)),
    "one layer": Row(("ask", "-p", "m", "--layers", "1", "Why?"), ("leave out -p",)),
    "no layers": Row(("ask", "-p", "m", "--layers", "0", "Why?"), ("0 is too small: at least 1",)),
    "a proposer that none is": Row(("ask", "-p", "n0", "Why?"), ("-p: unknown", "'n0'")),
    "a proposer times nothing": Row(("ask", "-p", "m*0", "Why?"), ("-p:", "'m*3'")),
    "an aggregator that none is": Row(("ask", "-p", "m", "-a", "n0", "Why?"), ("-a: unknown",)),
    "an aggregator for one model": Row(("ask", "-m", "m", "-a", "m", "Why?"), ("-p m -a m",)),
    "a team for a model": Row(("ask", "-m", "auto-team", "Why?"), ("several models",)),
    "a temperature that is a word": Row(
        ("ask", "--temperature", "hot", "Why?"), ("'hot' is not a",)
    ),
    "a temperature below zero": Row(("ask", "--temperature", "-1", "Why?"), ("--temperature", "0")),
    "no tokens": Row(("ask", "--max-tokens", "0", "Why?"), ("0 is too small: at least 1",)),
    "a seed that is a word": Row(("ask", "--seed", "x", "Why?"), ("'x' is not a whole number",)),
    "an option as another tool has it": Row(
        ("ask", "--model", "m", "Why?"), ("No such option '--model'. Did you mean '--mixture'?",)
    ),
    "a limit as another tool has it": Row(
        ("ask", "--budget", "1", "Why?"), ("Did you mean '--max-cost'?",)
    ),
    "a question as an option": Row(
        ("review", "--question", "Safe?"), ("Write it without an option: mixtura review QUESTION",)
    ),
    "an option that no other is near to": Row(
        ("ask", "--reason", "Why?"), ("No such option '--reason'.\n",)
    ),
    "a test call of no one": Row(("doctor", "--call", ""), ("a name cannot be empty",)),
    "a star with spaces": Row(("ask", "-p", "m * 2", "Why?"), ("-p:", "'m*3'")),
    "a seed of more than 64 bits": Row(
        ("ask", "--seed", "9223372036854775808", "Why?"), ("too large", "9,223,372,036,854,775,807")
    ),
    "a seed with a line below": Row(("ask", "--seed", "1_0", "Why?"), ("not a whole number",)),
    "more tokens than anyone writes": Row(
        ("ask", "--max-tokens", "10000001", "Why?"), ("too large: at most 10,000,000",)
    ),
    "more layers than anyone asks": Row(
        ("ask", "-p", "m", "--layers", "101", "Why?"), ("too large: at most 100",)
    ),
    "a slash too many": Row(
        ("ask", "-p", "openai//x", "Why?"), ("-p:", "did you mean 'openai/x'?")
    ),
    "a cost below zero": Row(("ask", "--max-cost", "-1", "Why?"), ("--max-cost",)),
    "a cost that is no number": Row(("ask", "--max-cost", "nan", "Why?"), ("--max-cost",)),
    "no time": Row(("ask", "--deadline", "0", "Why?"), ("--deadline",)),
    "a question that is no text": Row(("ask", "-"), ("not text (UTF-8)",), stdin=b"\xff\xfe\xfd"),
    "a cap without a price": Row(
        ("ask", "--max-cost", "1", "Why?"), ("price of every model", "unknown")
    ),
    "a run that is not there": Row(("show", "nosuchrun"), ("nosuchrun",)),
    "a page of a mixture": Row(("show", "team", "--html", "x.html"), ("--html goes with a run",)),
    "a page of nothing": Row(("show", "--html", "x.html"), ("mixtura show last --html FILE",)),
    "patterns and a name": Row(("show", "team", "--patterns"), ("--patterns",)),
    "runs without a number": Row(("runs", "--limit", "x"), ("'x' is not a whole number",)),
    "a run to delete that is not there": Row(("runs", "--delete", "nosuch"), ("nosuch",)),
    "nothing to pull": Row(("pull",), ("Missing argument",)),
    "a model to pull that none is": Row(
        ("pull", "smollm"), ("unknown local model 'smollm'", "smollm2")
    ),
    "a port that is a word": Row(("serve", "--port", "x"), ("'x' is not a whole number",)),
    "a host that is none": Row(
        ("serve", "--host", "256.1.1.1"), ("--host 256.1.1.1: no such address", "127.0.0.1")
    ),
    "a server for all without keys": Row(("serve", "--host", "0.0.0.0"), ("--new-key",)),
    "a server of no model": Row(("serve",), ("default",), 'default = "n0"\n'),
    "a word for a doctor": Row(("doctor", "well"), ("unexpected extra argument",)),
    "a part of config that none is": Row(("config", "chek"), ("No such command 'chek'",)),
    "a file that is there": Row(("init", "--yes", "--no-scan"), ("Use --force to replace it",)),
    "two files to write": Row(
        ("init", "--yes", "--user", "--config", "x.toml"), ("give one of them",)
    ),
    "a server without a scheme": Row(
        ("init", "--force", "--no-scan", "--yes", "--server", "localhost:1234"), ("http://",)
    ),
    "an editor that is not there": Row(
        ("config", "edit"), ("EDITOR names", "not found"), env={"EDITOR": "no-such-editor"}
    ),
}  # fmt: skip

ROWS_FILE = {"in.jsonl": b'{"input": "2 + 2?", "target": "4"}\n'}
MANY = {
    "a row whose prompt is empty": Row(
        ("batch", "e.jsonl", "out.jsonl"), ("e.jsonl:2: the prompt is empty", "`prompt`"),
        files={"e.jsonl": b'{"prompt": "Why?"}\n{"prompt": ""}\n'},
    ),
    "a batch of nothing": Row(("batch",), ("Missing argument 'IN'",)),
    "a batch into nothing": Row(("batch", "in.jsonl"), ("Missing argument 'OUT'",)),
    "a batch of a file that is not there": Row(
        ("batch", "no.jsonl", "out.jsonl"), ("there is no file no.jsonl", "OWNER/NAME")
    ),
    "a batch of a web address": Row(
        ("batch", "https://example.org/in.jsonl", "out.jsonl"), ("web address: download it",)
    ),
    "a batch of a broken line": Row(
        ("batch", "in.jsonl", "out.jsonl"), ("in.jsonl:1: not JSON",),
        files={"in.jsonl": b'{"input": '},
    ),
    "a batch of rows without a prompt": Row(
        ("batch", "in.jsonl", "out.jsonl"), ("in.jsonl:1:", "--column", "it has q"),
        files={"in.jsonl": b'{"q": "Why?"}'},
    ),
    "a batch over its own input": Row(
        ("batch", "in.jsonl", "in.jsonl"), ("the same file (in.jsonl): rename",), files=ROWS_FILE
    ),
    "a batch into a table": Row(
        ("batch", "in.jsonl", "out.csv"), ("out.csv would be JSON lines: name it out.jsonl",),
        files=ROWS_FILE,
    ),
    "a batch into no folder": Row(
        ("batch", "in.jsonl", "no/out.jsonl"), ("OUT: there is no folder no",), files=ROWS_FILE
    ),
    "a journal that is a device": Row(
        ("batch", "in.jsonl", "out.jsonl", "--journal", os.devnull),
        ("--journal:", "not an ordinary file"), files=ROWS_FILE,
    ),
    "a template with an unknown field": Row(
        ("batch", "in.jsonl", "out.jsonl", "--template", "{question}"),
        ("in.jsonl:1:", "question", "it has input, target"), files=ROWS_FILE,
    ),
    "a split of a file": Row(
        ("batch", "in.jsonl", "out.jsonl", "--split", "test"), ("--split", "data sets"),
        files=ROWS_FILE,
    ),
    "a time without its unit": Row(
        ("batch", "in.jsonl", "out.jsonl", "--within", "6"), ("not a duration", "6h, 90m"),
        files=ROWS_FILE,
    ),
    "batches of a provider that has none": Row(
        ("batch", "in.jsonl", "out.jsonl", "--provider-batch", "only"),
        ("--provider-batch only: Mixtura", "--provider-batch auto"), files=ROWS_FILE,
    ),
    "an export into a folder": Row(("export", "."), ("is a folder: name a file in it",)),
    "an export since a word": Row(
        ("export", "x.jsonl", "--since", "yesterday"), ("'yesterday' is not a date", "2026-11-30")
    ),
    "an export of no batch": Row(
        ("export", "x.jsonl", "--batch", "no.jsonl"), ("there is no file no.jsonl", "OUT")
    ),
    "an export of rows that no batch wrote": Row(
        ("export", "x.jsonl", "--batch", "in.jsonl"), ("no journal in.jsonl.journal", "--journal"),
        files=ROWS_FILE,
    ),
    "an input without its batch": Row(
        ("export", "x.jsonl", "--input", "in.jsonl"), ("belong to one --batch",)
    ),
    "pairs of a batch": Row(
        ("export", "x.jsonl", "--batch", "a", "--format", "preferences"), ("reads kept runs",)
    ),
}  # fmt: skip

TOOLS = {
    "a port of mcp that none is": Row(("mcp", "--http", "99999"), ("0 to 65535",)),
    "a cap of mcp in words": Row(("mcp", "--max-cost", "free"), ("'free' is not a number",)),
    "mcp with a mixture that none is": Row(
        ("mcp",), ("mixtura.toml:9:", "unknown model or mixture 'tem'", "'team'"),
        f'{TEAM}[mcp]\nmixtures = ["tem"]\n',
    ),
    "a review of nothing": Row(("review",), ("there is no change to review",)),
    "a review of a file that is not there": Row(
        ("review", "--file", "no.md"), ("--file: there is no file no.md",)
    ),
    "a review of what is not text": Row(
        ("review", "--file", "b.bin"), ("b.bin is not text",), files={"b.bin": b"\xff\xfe\x00"}
    ),
    "a review by another pattern": Row(
        ("review", "-m", "team", "--file", "in.jsonl"), ("not a mixture for reviews",),
        files=ROWS_FILE,
    ),
    "a review of a file without --file": Row(
        ("review", "in.jsonl"), ("A file is reviewed by: mixtura review --file in.jsonl",),
        files=ROWS_FILE,
    ),
    "a chat about agreement in words": Row(("chat", "--agreement=full"), ("take a value",)),
    "an agreement of a mixture": Row(
        ("show", "team", "--agreement"), ("mixtura show last --agreement", "ask --agreement")
    ),
    "a price of an agreement without it": Row(
        ("show", "last", "--dry-run"), ("--max-cost and --dry-run go with --agreement",)
    ),
    "a reporter that none is": _checked(
        f'{TEAM}[agreement]\nmodel = "tem"\n', ":9: agreement.model", "'team'"
    ),
    "an agreement of a run that is not there": Row(
        ("show", "nothing", "--agreement"), ("no run is called 'nothing'",)
    ),
    "a tool that is not installed": Row(
        ("ask", "-m", "claude-code", "Why?"), ("'claude' is not on your PATH",), env={"PATH": ""}
    ),
    "a tool misspelt": Row(("ask", "-m", "claud-code", "Why?"), ("did you mean 'claude-code'?",)),
    "a check misspelt": Row(("ask", "-m", "checkd", "Why?"), ("did you mean 'checked'?",)),
    "a mixture times nothing": Row(("ask", "-m", "m*0", "Why?"), ("1 to 1,000", "'m*3'")),
    "a shell that none is": Row(("completion", "tcsh"), ("'tcsh'", "'zsh'")),
    "a log level that none is": Row(
        ("--log-level", "loud", "ask", "Why?"), ("'loud' is not one of", "'debug'")
    ),
}  # fmt: skip

RECENT_FILES = {
    "a collector without http": _checked(
        '[telemetry]\nendpoint = "localhost:4318"\n', ":2: telemetry.endpoint", "http://"
    ),
    "a command as one text": _checked(
        '[models.c]\ncommand = "claude -p"\n', ":2: models.c.command", 'command = ["my-model"'
    ),
    "a command without a program": _checked(
        "[models.c]\ncommand = []\n", ":2: models.c: command: the program is missing"
    ),
    "a command with a provider": _checked(
        '[models.c]\ncommand = ["cat"]\nprovider = "openai"\n', ":3: models.c: provider"
    ),
    "a key of the server in the file": _checked(
        f'[serve.keys.a]\nkey = "{CANARY}"\n', ":2: serve.keys.a", "serve --new-key NAME"
    ),
    "a check that runs outside the sandbox": _team(
        'pattern = "checked"\nlayers = [["m*3"]]\ncheck = "pytest -q"',
        ":8: check:",
        "set `outside_sandbox = true`",
    ),
    "a gate without the strong model": _team(
        'pattern = "gate"\nlayers = [["m*3"]]', ":5: mixtures.team: `aggregator` is missing"
    ),
    "a threshold above one": _team(
        'pattern = "switch"\nlayers = [["m*3"]]\nthreshold = 2', ":8:", "<= 1.0"
    ),
    "tools by a word": _checked('use_commands = "ask"\n', ":1: use_commands: expected true or"),
}

PAIR = MODEL + MODEL.replace("models.m", "models.n")
LOOKED_AT = {
    "in.jsonl": b"".join(b'{"question": "%d", "answer": "#### 1"}\n' % n for n in range(8)),
    "logs/tune-looks.jsonl": b"not a look\n",
}

EVALUATIONS = {
    "a tuning of nothing": Row(("tune",), ("--models A B C --on prompts.jsonl",)),
    "a tuning of one model": Row(
        ("tune", "--models", "m", "--on", "in.jsonl"), ("at least two models are needed",),
        files=ROWS_FILE,
    ),
    "a tuning on too few prompts": Row(
        ("tune", "--models", "m", "team", "--on", "in.jsonl", "--scoring", "number"),
        ("has 1 different prompt, but at least 4 are needed",), files=ROWS_FILE,
    ),
    "a tuning by a pattern that none is": Row(
        ("tune", "--models", "m", "team", "--on", "in.jsonl", "--scoring", "number",
         "--patterns", "votes"),
        ("'votes' is not one of vote, mux",), files=ROWS_FILE,
    ),
    "a tuning by a scoring that none is": Row(
        ("tune", "--models", "m", "team", "--on", "in.jsonl", "--scoring", "numbr"),
        ("'numbr' is not one of exact",), files=ROWS_FILE,
    ),
    "a calibration from no folder": Row(
        ("calibrate", "--from", "nowhere"), ("--from: there is no folder nowhere",)
    ),
    "a calibration of a mixture from nothing": Row(
        ("calibrate", "--mixture", "team"), ("-m goes with --from RUNS",)
    ),
    "a task that none is": Row(("eval", "gsm9k", "--model", "m"), ("gsm9k", "gsm8k")),
    "an evaluation of nothing": Row(("eval", "gsm8k"), ("--model",)),
    "an evaluation of no rows": Row(
        ("eval", "jsonl", "--model", "m", "--data", "no.jsonl"),
        ("no.jsonl cannot be read", "No such")
    ),
    "rows that are no JSON": Row(
        ("eval", "jsonl", "--model", "m", "--data", "r.jsonl"), ("r.jsonl, line 1", "not JSON"),
        files={"r.jsonl": b"hello\n"},
    ),
    "rows at an address that refuses": Row(
        ("eval", "jsonl", "--model", "m", "--data", "http://127.0.0.1:9/r.jsonl"),
        ("cannot be downloaded", "onnection refused", "--data FILE"),
    ),
    "rows at an address of no one": Row(
        ("eval", "jsonl", "--model", "m", "--data", "http://no.such.host.invalid/r.jsonl"),
        ("cannot be downloaded", "host not found", "--data FILE"),
    ),
    "a comparison of nothing": Row(("compare",), ("Which mixture?", "--on")),
    "a comparison on nothing": Row(("compare", "team"), ("--on",)),
    "a selection on nothing": Row(("select", "--models", "m"), ("--on",)),
    "a report of no folder": Row(
        ("report", "--from", "nowhere"), ("--from: there is no folder nowhere",)
    ),
    "a report of a file": Row(
        ("report", "--from", "in.jsonl"), ("--from: there is no folder in.jsonl",), files=ROWS_FILE
    ),
    "a calibration from a file": Row(
        ("calibrate", "--from", "in.jsonl"), ("--from: there is no folder in.jsonl",),
        files=ROWS_FILE,
    ),
    "a calibration by a curve that none is": Row(
        ("calibrate", "--from", ".", "--method", "spline"), ("'spline' is not one of", "'platt'")
    ),
    "a calibration without an evaluation": Row(
        ("calibrate", "--from", "."), ("nothing to calibrate: the logs contain no evaluation",)
    ),
    "a tuning planned for no look": Row(
        ("tune", "--models", "m", "n", "--on", "in.jsonl", "--looks", "0"), ("at least 1",)
    ),
    "a tuning planned in words": Row(
        ("tune", "--models", "m", "n", "--on", "in.jsonl", "--looks", "some"),
        ("'some' is not a whole number",),
    ),
    "a tuning after looks that cannot be read": Row(
        ("tune", "--models", "m", "n", "--on", "in.jsonl", "--task", "gsm8k", "--dry-run"),
        ("tune-looks.jsonl, line 1: this is not the record of a test", "no tuning has used"),
        PAIR, files=LOOKED_AT,
    ),
    "a tuning of a model and itself": Row(
        ("tune", "--models", "m", "m", "--on", "in.jsonl"), ("m is listed twice",),
        files=ROWS_FILE,
    ),
    "a tuning that proves on nothing": Row(
        ("tune", "--models", "m", "n", "--on", "in.jsonl", "--held-out", "0"),
        ("more than 0 and less than 1",),
    ),
    "the agreement of one model": Row(
        ("eval", "jsonl", "--model", "m", "--data", "in.jsonl", "--agreement"),
        ("--agreement compares proposals, but m has fewer than two",), files=ROWS_FILE,
    ),
    "the agreement of a team of one": Row(
        ("eval", "jsonl", "--model", "team", "--data", "in.jsonl", "--agreement"),
        ("team has fewer than two: name a mixture with several",), files=ROWS_FILE,
    ),
    "the agreement of answers that are there": Row(
        ("eval", "alpaca-eval", "--outputs", "a.json", "--judge", "m", "--agreement"),
        ("--agreement compares the proposals of a mixture: give --model NAME",),
        files={"a.json": b'[{"instruction": "q", "output": "a", "generator": "g"}]'},
    ),
    "the agreement of dialogues": Row(
        ("eval", "mt-bench", "--model", "team", "--judge", "m", "--agreement"),
        ("--agreement is for single answers, but mt-bench has dialogues",),
    ),
    "agreement in words": Row(
        ("eval", "gsm8k", "--model", "team", "--agreement=yes"), ("does not take a value",)
    ),
}  # fmt: skip

CALLS = {
    "a refused connection": Row(("ask", "-m", "m", "Why?"), ("onnection refused",), code=3),
    "a host that is none": Row(
        ("ask", "-m", "m", "Why?"), ("no.such.host.invalid", "host not found"),
        MODEL.replace("127.0.0.1:9", "no.such.host.invalid"), 3,
    ),
    "a host name that cannot be": Row(
        ("ask", "-m", "m", "Why?"), ("not a valid host name",), MODEL.replace
        ("127.0.0.1:9", "a..b"), 3
    ),
    "a certificate that is not there": Row(
        ("ask", "-m", "m", "Why?"), ("client_certificate", "cannot be read", "No such file"),
        f'{MODEL}client_certificate = "no.pem"\n',
    ),
}  # fmt: skip

TABLES = {
    "file": FILES | RECENT_FILES, "setup": UNUSABLE, "command": WORDS, "rows": MANY,
    "tool": TOOLS, "call": CALLS,
}  # fmt: skip
ROWS = {f"{kind}: {name}": row for kind, rows in TABLES.items() for name, row in rows.items()}
TRACES = ("Traceback", "[Errno", "FileNotFoundError", "Error(", "mixtura.core", "msgspec")


def check_row(
    row: Row, folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
) -> None:
    """Run the program in this process, in a folder and an environment of its own."""
    (folder / "mixtura.toml").write_text(row.file)
    for name, content in row.files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "SYSTEMROOT")}
    home = {"HOME": str(folder), "OLLAMA_HOST": "127.0.0.1:9", "NO_PROXY": "*"}
    for name in list(os.environ):
        patch.delenv(name)
    for name, value in (kept | home | {"HOUSE_KEY": CANARY} | row.env).items():
        patch.setenv(name, value)
    patch.chdir(folder)
    patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(row.stdin)))

    with pytest.raises(SystemExit) as ended:
        main(row.words)

    out, err = capture.readouterr()
    assert ended.value.code == row.code, out + err
    assert out == "" or row.code != 2, out
    for piece in row.said:
        assert piece in err, err
    assert "canary" not in out + err
    assert not [trace for trace in TRACES if trace in err], err

"""Texts that want to be a control token in a prompt, and what tokenizers find in one."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import unicodedata
from contextlib import closing
from functools import cache

import pytest

from mixtura.llama.gguf import read_header

VOCABULARIES = os.environ.get("MIXTURA_TEST_VOCABULARIES")

# Special tokens as their models' tokenizers have them, one family a line.
TOKENS = r"""
<|im_start|> <|im_end|> <|endoftext|> <tool_call> </tool_call> <think> </think> <|fim_prefix|> <s>
</s> <unk> <pad> <0x0A> <0xFF> [INST] [/INST] <<SYS>> <</SYS>> <|begin_of_text|>
<|start_header_id|> <|eot_id|> <|eom_id|> <|python_tag|> <|header_start|> <|header_end|> <|eot|>
<|image_start|> <bos> <eos> <start_of_turn> <end_of_turn> <unused12> <start_of_image> [multimodal]
<mask> <2mass> <|turn> <turn|> <|channel> <channel|> <|tool_call> <tool_call|> <|"|> <|think|>
[AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_CALLS] [TOOL_RESULTS] [/TOOL_RESULTS] [IMG] [IMG_BREAK]
[SYSTEM_PROMPT] [/SYSTEM_PROMPT] [THINK] [/THINK] [ARGS] [CALL_ID] [PREFIX] [SUFFIX] [MIDDLE]
[BEGIN_AUDIO] [control_8] [TOOL_CONTENT] [MODEL_SETTINGS] <｜User｜> <｜Assistant｜>
<｜begin▁of▁sentence｜> <｜tool▁calls▁begin｜> <｜end▁of▁thinking｜> [gMASK] [sMASK] <sop> <eop>
<|user|> <|observation|> <arg_key> </arg_value> /nothink <|start|> <|channel|> <|message|>
<|call|> <|return|> <|constrain|> <|im_user|> <|im_middle|> <|tool_calls_section_begin|> [BOS]
[EOS] [PAD] [UNK] [EOT] [extra_id_0] <｜hy_User｜> <｜hy_begin▁of▁sentence｜> <|startoftext|>
<|extra_4|> <answer> </answer> <|begin_of_sentence|> <|end_of_sentence|> <mask:0> <cls> <sep>
<|IMAGE_PLACEHOLDER|> <|START_OF_TURN_TOKEN|> <|CHATBOT_TOKEN|> <BOS_TOKEN> <EOP_TOKEN>
<|START_RESPONSE|> <|system|> <|end|> <|placeholder1|> <dummy00001> <|start_of_role|>
<|end_of_role|> <fim_prefix> <filename> <reponame> <gh_stars> <issue_start> [|system|]
[|assistant|] [|endofturn|] <reserved_102> <reserved_106> <|bom|> <|eom|> <|startoftext|> <|pad|>
<seed:bos> <seed:think> </seed:think> <seed:cot_budget_reflect> <[begin▁of▁sentence]>
<[fim-prefix]> ]~b] ]~!b[ [e~[ ]!p~[ ]!d~[ <minimax:tool_call> [UNUSED_TOKEN_145] <|action_start|>
<|plugin|> <PRE> <SUF> <MID> <EOT> <FILL_ME> <extra_id_0> <extra_id_99> <loc0001> <seg001> [CLS]
[SEP] [MASK] [unused12] |||EMAIL_ADDRESS||| |ENDOFTEXT| >>TITLE<< >>ANSWER<< >>QUESTION<<
<SPECIAL_12> <AVAILABLE_TOOLS> <TOOLCALL> </TOOLCALL> <_start> <_end> <_user> <_bot>
<longcat_user> <role> </role> <|role_end|> <fake_token_around_image> <global-img> <row_1_col_2>
<image> <end_of_utterance> <im_start> <im_patch> <img> </img> <ref> <box> <quad> <IMG_CONTEXT>
<fim-middle> <|user_start|> <|plamo:bos|> <|reserved_special_token_12|> <jupyter_code>
<empty_output>
"""
FAMILIES = [*TOKENS.split(), "]<]start of image[>["]

HIDDEN = ["\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\ufe0f", "\x1b[0m", "\x00", "\u202e",
          "\U000e0041", "\u180e", "\u200c\u200c\u200c", "\x1b]0;x\x07", "\u034f"]  # fmt: skip
MARKS = ["\u0301", "\u0338", "\u20dd", "\u0323"]
WIDE = {chr(c): chr(c + 0xFEE0) for c in range(0x21, 0x7F)}


def payloads(tokens, count, seed=0):
    """Pieces of text, each of three parts, that want to be one of *tokens* in the end."""
    lots = random.Random(seed)
    for _ in range(count):
        token = lots.choice(tokens)
        how = lots.randrange(8)
        at = lots.randrange(1, len(token)) if len(token) > 1 else 0
        if how == 0:
            parts = [token]
        elif how == 1:  # hidden characters anywhere
            hidden = "".join(lots.choices(HIDDEN, k=lots.randint(1, 4)))
            parts = [token[:at] + hidden + token[at:]]
        elif how == 2:  # a copy inside a copy: what takes the inner one out forms the outer
            parts = [token[:at] + token + token[at:]]
        elif how == 3:  # as a normalizing tokenizer reads it
            parts = ["".join(WIDE.get(c, c) if lots.random() < 0.5 else c for c in token)]
        elif how == 4:
            parts = [token[:at] + lots.choice(MARKS) + token[at:]]
        elif how == 5:  # over the ends of proposals
            parts = [token[:at], token[at:]]
        elif how == 6:
            other = lots.choice(tokens)
            parts = [other[: len(other) // 2] + token + other[len(other) // 2 :]]
        else:
            parts = ["x" + lots.choice(HIDDEN).join(token) + "\n", token * 2]
        yield [*parts, *["y"] * (3 - len(parts))][:3]


def as_read(text):
    """What the most forgiving tokenizer makes of it: no hidden characters, no accents, no width."""
    plain = unicodedata.normalize("NFKD", text)
    return "".join(c for c in plain if unicodedata.category(c) not in ("Mn", "Me", "Cf"))


@cache
def control_tokens(path):
    """What llama.cpp looks for in text, and must not find there: its control tokens."""
    header = read_header(path)
    rows = zip(header.token_texts(), header.token_types(), strict=True)
    return frozenset(token for token, kind in rows if kind in (2, 3) and len(token) > 1)


def found_in(text, tokens):
    lengths = sorted({len(token) for token in tokens})
    openings = (match.start() for match in re.finditer(r"[<\[\]|>/]", text))
    return [text[i : i + n] for i in openings for n in lengths if text[i : i + n] in tokens]


@pytest.fixture(scope="module")
def tokenize(embedded):
    """llama.cpp's own tokenizer with the embedded model's file, as the chat template is read."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(embedded)
    params.n_ctx = 256
    params.verbosity = -1
    params.api_keys = ["open sesame"]
    server = xllamacpp.Server(params)

    address = server.listening_address.removeprefix("http://")

    def ids(text):
        body = json.dumps({"content": text, "parse_special": True, "add_special": False})
        with closing(http.client.HTTPConnection(address)) as connection:
            connection.request("POST", "/tokenize", body, {"Authorization": "Bearer open sesame"})
            return json.loads(connection.getresponse().read())["tokens"]

    yield ids
    del server

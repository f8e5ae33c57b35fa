"""One step of TRL's SFTTrainer and one of its DPOTrainer, on exported files and a tiny model.

    python trl_steps.py TRAIN.jsonl PAIRS.jsonl FOLDER

Nothing is fetched: the tokenizer is made of the files' words, the model's weights are drawn.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from datasets import load_dataset
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|> {{ message['content'] }}<|end|> "
    "{% endfor %}{% if add_generation_prompt %}<|assistant|> {% endif %}"
)
MARKS = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>", "<|unknown|>"]


def build_tokenizer(files: list[str]) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.BPE(unk_token="<|unknown|>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=MARKS)
    made.train_from_iterator([Path(name).read_text() for name in files], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|end|>", pad_token="<|pad|>", unk_token="<|unknown|>"
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def save_model(tokenizer: PreTrainedTokenizerFast, folder: str) -> str:
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)  # the trainers load it, DPO's twice
    return folder


def read_rows(name: str):
    return load_dataset("json", data_files=name, split="train").remove_columns("provenance")


def main(train: str, pairs: str, folder: str) -> None:
    tokenizer = build_tokenizer([train, pairs])
    steps = {
        "max_steps": 1, "per_device_train_batch_size": 2, "report_to": [], "use_cpu": True,
        "bf16": False, "logging_steps": 1, "save_strategy": "no", "max_length": 256,
    }  # fmt: skip
    model, told = save_model(tokenizer, f"{folder}/model"), {}
    for name, trainer, config, file in (
        ("sft", SFTTrainer, SFTConfig, train),
        ("dpo", DPOTrainer, DPOConfig, pairs),
    ):
        rows = read_rows(file)
        made = trainer(
            model,
            args=config(output_dir=f"{folder}/{name}", **steps),
            train_dataset=rows,
            processing_class=tokenizer,
        )
        done = made.train()
        told[name] = {
            "rows": len(rows), "steps": done.global_step, "loss": round(done.training_loss, 4),
        }  # fmt: skip
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])

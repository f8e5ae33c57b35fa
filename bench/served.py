"""Several model files, each behind a llama.cpp server of its own on loopback, mixed in one run.

    python bench/served.py QUESTION MODEL.gguf MODEL.gguf MODEL.gguf

The last file is the aggregator, too. Ends its servers with the run.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from multiprocessing.synchronize import Event
from pathlib import Path
from queue import Queue
from typing import Any


def serve(path: str, address: Queue[str], done: Event) -> None:
    """One server in one process, until *done*."""
    os.environ["GOMP_SPINCOUNT"] = "0"
    import xllamacpp

    params: Any = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = 4096
    params.verbosity = -1
    server = xllamacpp.Server(params)
    address.put(server.listening_address)
    done.wait()


def main() -> None:
    question, *files = sys.argv[1:]
    context = multiprocessing.get_context("spawn")
    done, tables, processes = context.Event(), [], []
    for number, file in enumerate(files):
        address: Any = context.Queue()
        process = context.Process(target=serve, args=(file, address, done), daemon=True)
        process.start()
        processes.append(process)
        name = f"{Path(file).stem}-{number}"
        tables.append((name, address.get(timeout=30)))
    models = "\n".join(
        f'[models."{name}"]\nbase_url = "{url}/v1"\nmodel = "{name}"\n'
        "price = { input = 0, output = 0 }\n"
        for name, url in tables
    )
    names = ", ".join(f'"{name}"' for name, _ in tables)
    text = (
        f'default = "served"\n{models}\n[mixtures.served]\nlayers = [[{names}]]\n'
        f'aggregator = "{tables[-1][0]}"\nsampling = {{ temperature = 0.7, max_tokens = 120 }}\n'
    )
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mixtura.toml"
        config.write_text(text)
        command = [sys.executable, "-m", "mixtura", "ask", "--config", str(config), question]
        code = subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode
    done.set()
    for process in processes:
        process.join(10)
    sys.exit(code)


if __name__ == "__main__":
    main()

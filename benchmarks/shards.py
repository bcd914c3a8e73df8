"""Run the commands of docs/shards.md, with a store of moto on this machine, and write their output below them.

    python benchmarks/shards.py

It needs the extras remote and moto.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer
from readme import ROOT, filled

PAGE = ROOT / "docs" / "shards.md"
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(ENVIRONMENT, AWS_ENDPOINT_URL=endpoint, XDG_CACHE_HOME=f"{folder}/.cache")
        store = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        store.create_bucket(Bucket="bucket")

        def with_store(command: str) -> str:
            """The command; what it reads of the store is copied there before."""
            if command.startswith("lmgen corpus check s3://"):
                for file in Path(folder, "corpus").iterdir():
                    store.upload_file(str(file), "bucket", f"corpus/{file.name}")
            return command

        PAGE.write_text(filled(PAGE.read_text("utf-8"), folder, with_store), "utf-8")
    server.stop()


if __name__ == "__main__":
    main()

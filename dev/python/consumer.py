"""The firehose client of the Python SDK, which decodes the CAR of every commit.

    run.sh consumer --relay ws://HOST:PORT [--cursor SEQ]

Prints one JSON line per event, in the form of dev/network/consumer.js, and runs until it is killed. What ends the
subscription, such as an error of the relay, is a last line with "error".
"""

import argparse
import json

from atproto import CAR, FirehoseSubscribeReposClient, models, parse_subscribe_repos_message

EVENTS = models.ComAtprotoSyncSubscribeRepos


def print_line(**fields):
    print(json.dumps({name: value for name, value in fields.items() if value is not None}), flush=True)


def records(commit):
    blocks = CAR.from_bytes(commit.blocks).blocks
    for op in commit.ops:
        collection, rkey = op.path.split("/")
        fields = {"event": op.action, "collection": collection, "rkey": rkey}
        if op.action != "delete":
            fields |= {"cid": str(op.cid), "record": blocks[op.cid]}
        yield fields


def on_message(message):
    event = parse_subscribe_repos_message(message)
    match event:
        case EVENTS.Commit():
            for record in records(event):
                print_line(seq=event.seq, did=event.repo, rev=event.rev, time=event.time, **record)
        case EVENTS.Sync():
            root = str(CAR.from_bytes(event.blocks).root)
            print_line(seq=event.seq, did=event.did, event="sync", cid=root, rev=event.rev, time=event.time)
        case EVENTS.Identity():
            print_line(seq=event.seq, did=event.did, event="identity", handle=event.handle, time=event.time)
        case EVENTS.Account():
            account = {"active": event.active, "status": event.status}
            print_line(seq=event.seq, did=event.did, event="account", **account, time=event.time)
        case EVENTS.Info():
            print_line(info=event.name)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--relay", required=True)
    parser.add_argument("--cursor", type=int)
    options = parser.parse_args()

    params = None if options.cursor is None else {"cursor": options.cursor}
    client = FirehoseSubscribeReposClient(params, base_uri=f"{options.relay}/xrpc")
    try:
        client.start(on_message, lambda error: print_line(error=repr(error)))
    except Exception as error:
        print_line(error=repr(error))


main()

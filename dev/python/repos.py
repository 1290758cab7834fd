"""The accounts with records in a collection, read page by page by the Python SDK, which checks each answer's form.

    run.sh repos --service http://HOST:PORT --collection NSID [--limit COUNT]

Prints one DID per line.
"""

import argparse

from atproto import Client


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--service", required=True)
    parser.add_argument("--collection", required=True)
    parser.add_argument("--limit", type=int, default=500)
    options = parser.parse_args()

    client = Client(f"{options.service}/xrpc")
    parameters = {"collection": options.collection, "limit": options.limit}
    while True:
        page = client.com.atproto.sync.list_repos_by_collection(parameters)
        for repo in page.repos:
            print(repo.did)
        if not page.cursor:
            break
        parameters["cursor"] = page.cursor


main()

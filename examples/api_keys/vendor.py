"""A vendor, a customer with an API key, and somebody who has copied the customer's ticket."""

import asyncio
import sys

from keys import ApiKeys, Quote, show

from mosaik_actors import Network, run, stream

KEYS = {"ann": b"A" * 32, "bob": b"B" * 32}  # random ones, in earnest

Quotes = stream(Quote, "vendor.quotes", producer={"require_ticket": ApiKeys(KEYS)})


async def main() -> None:
    async with (
        Network("api-keys") as vendor,
        Network("api-keys") as customer,
        Network("api-keys") as copycat,
    ):
        quotes = Quotes.producer(vendor)
        bought, copied = Quotes.consumer(customer), Quotes.consumer(copycat)

        ticket = show("ann", KEYS["ann"], customer.peer_id)
        customer.discovery.add_ticket(ticket)
        copycat.discovery.add_ticket(ticket)  # everybody can see it, and it is of no use

        await bought.when().online()
        await quotes.send(Quote("ETH", 3120.5))
        print("customer got", (await bought.recv()).symbol)

        while not any("another key" in str(error) for error in copied.refusals().values()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        (error,) = copied.refusals().values()
        print("copycat:", error)

        customer.discovery.remove_ticket(ticket.id)
        await quotes.when().offline()
        await bought.when().offline()
        print("without its ticket the customer gets nothing")


if __name__ == "__main__":
    sys.exit(run(main))

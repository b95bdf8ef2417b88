"""The collateral actor, against a service on loopback."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote as percent_encode

import pytest

from mosaik_actors.actors.collateral import CollateralActor
from mosaik_actors.tee.collateral import Collateral, CollateralKey
from mosaik_actors.tee.config import TeeConfig
from mosaik_actors.tee.messages import StartCollateral
from mosaik_actors.tee.simulated import SIMULATED_FMSPC, SimulatedRoot, SimulatedTd
from mosaik_actors.tee.store import CollateralStore
from mosaik_actors.tee.validator import Tdx
from mosaik_actors.testing import TIME_FACTOR
from mosaik_actors.tickets.validator import InvalidTicket
from tests.nodes import node_maker
from tests.waiting import until

KEY = CollateralKey(SIMULATED_FMSPC, "platform")
ROOT = SimulatedRoot("a service's root")
QUOTE = SimulatedTd(ROOT).quote(bytes(64))


class Service:
    """A PCCS: four documents, with the certificates above them in headers."""

    def __init__(self) -> None:
        self.collateral = ROOT.collateral(now=time.time())
        self.is_down = False
        self.answers = threading.Event()
        self.answers.set()
        self.paths: list[str] = []

    def answer(self, path: str) -> tuple[bytes, str, str]:
        """Return the body, and the header with the certificates."""
        parts = self.collateral.parts()
        match path.partition("?")[0]:
            case "/sgx/certification/v4/pckcrl":
                chain = parts["pck_crl_issuer_chain"]
                return bytes.fromhex(parts["pck_crl"]), "SGX-PCK-CRL-Issuer-Chain", chain
            case "/sgx/certification/v4/rootcacrl":
                return parts["root_ca_crl"].encode(), "X-None", ""
            case "/tdx/certification/v4/tcb":
                body = signed("tcbInfo", parts["tcb_info"], parts["tcb_info_signature"])
                return body, "TCB-Info-Issuer-Chain", parts["tcb_info_issuer_chain"]
            case "/tdx/certification/v4/qe/identity":
                body = signed(
                    "enclaveIdentity", parts["qe_identity"], parts["qe_identity_signature"]
                )
                chain = parts["qe_identity_issuer_chain"]
                return body, "SGX-Enclave-Identity-Issuer-Chain", chain
        raise AssertionError(path)


def signed(name: str, text: str, signature: str) -> bytes:
    return f'{{"{name}":{text},"signature":"{signature}"}}'.encode()


@contextmanager
def serve(service: Service) -> Iterator[str]:
    """Answer on loopback; give the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            service.paths.append(self.path)
            service.answers.wait()
            if service.is_down:
                self.send_error(503)
                return
            body, header, chain = service.answer(self.path)
            self.send_response(200)
            self.send_header(header, percent_encode(chain))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


async def test_what_a_validator_misses_is_fetched_and_kept(tmp_path: Path) -> None:
    service, store = Service(), CollateralStore(tmp_path)
    validator = Tdx(roots=[ROOT.certificate], collateral=store)
    with pytest.raises(InvalidTicket, match="no collateral") as refused:
        validator.check_quote(QUOTE, now=time.time())
    assert refused.value.valid_from is not None
    with serve(service) as url:
        async with node_maker("memory") as make_node:
            node = await make_node("a")
            config = TeeConfig(collateral_url=url, collateral_check_interval=0.01)
            actor = node.system.createActor(CollateralActor)
            node.system.tell(actor, StartCollateral(node, config, store))
            await until(lambda: store.load(KEY) is not None)
    assert f"/tdx/certification/v4/tcb?fmspc={SIMULATED_FMSPC}" in service.paths[1]
    assert len(service.paths) == 4
    # Another process with that folder needs no network.
    offline = Tdx(roots=[ROOT.certificate], collateral=CollateralStore(tmp_path))
    for judge in (validator, offline):
        assert judge.check_quote(QUOTE, now=time.time()).is_simulated


async def test_old_collateral_is_replaced_and_a_failure_leaves_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service, store = Service(), CollateralStore(tmp_path)
    old = ROOT.collateral(now=time.time() - 2 * 86_400)
    store.save(KEY, old)
    store.find(KEY)
    service.is_down = True
    with serve(service) as url, caplog.at_level(logging.WARNING):
        async with node_maker("memory") as make_node:
            node = await make_node("a")
            config = TeeConfig(collateral_url=url, collateral_check_interval=0.01)
            failing = node.system.createActor(CollateralActor)
            node.system.tell(failing, StartCollateral(node, config, store))
            await until(lambda: "next try in 60 s" in caplog.text)
            assert store.load(KEY) == old
            # One that knows of no failure tries at once.
            service.is_down = False
            other = node.system.createActor(CollateralActor)
            node.system.tell(other, StartCollateral(node, config, store))
            await until(lambda: (found := store.load(KEY)) is not None and found != old)
    newer = store.load(KEY)
    assert newer is not None
    assert same_parts(newer, service.collateral)


async def test_end_of_a_node_waits_for_no_service(tmp_path: Path) -> None:
    service, store = Service(), CollateralStore(tmp_path)
    store.find(KEY)
    service.answers.clear()
    with serve(service) as url:
        async with asyncio.timeout(4 * TIME_FACTOR), node_maker("memory") as make_node:
            node = await make_node("a")
            config = TeeConfig(collateral_url=url, collateral_check_interval=0.01)
            actor = node.system.createActor(CollateralActor)
            node.system.tell(actor, StartCollateral(node, config, store))
            await until(lambda: service.paths)
        service.answers.set()
    assert store.load(KEY) is None


def same_parts(one: Collateral, other: Collateral) -> bool:
    return dict(one.parts()) == dict(other.parts())

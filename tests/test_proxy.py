"""The reverse proxies of the page on hosting: nginx itself reads what stands there, and a live channel comes through it."""
from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.processes import ROOT, Running, free_port, site, until

PAGE = (ROOT / "docs" / "self-host.md").read_text(encoding="utf-8")
needs_nginx = pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("openssl") and shutil.which("curl")), reason="needs nginx, openssl and curl")


def test_the_caddyfile_is_three_lines_that_reach_the_relay() -> None:
    assert "```\nrelay.example.org {\n    reverse_proxy 127.0.0.1:8787\n}\n```\n" in PAGE


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[Running, str, str]]:
    """A relay, its address behind nginx, and a key."""
    [block] = re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL)
    port = free_port()
    with site(tmp_path) as made:
        relay = made.relay(RELAY_URL=f"https://localhost:{port}", RELAY_PROXIES="127.0.0.1")
        pem, key = tmp_path / "full.pem", tmp_path / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(pem)], check=True, capture_output=True)
        text = block.replace("listen 443", f"listen 127.0.0.1:{port}").replace("127.0.0.1:8787", f"127.0.0.1:{relay.port}").replace("relay.example.org;", "localhost;")
        text = re.sub(r"/etc/letsencrypt/\S+fullchain\.pem", str(pem), text)
        text = re.sub(r"/etc/letsencrypt/\S+privkey\.pem", str(key), text)
        version = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr
        if tuple(map(int, re.findall(r"\d+", version)[:3])) < (1, 25, 1):  # there the word for HTTP/2 stood elsewhere
            text = text.replace("    http2 on;\n", "")
        config = tmp_path / "nginx.conf"
        config.write_text(f"daemon off;\nmaster_process off;\npid {tmp_path}/pid;\nerror_log {tmp_path}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\nclient_body_temp_path {tmp_path}/body;\nproxy_temp_path {tmp_path}/proxy;\n"
                          f"fastcgi_temp_path {tmp_path}/f;\nuwsgi_temp_path {tmp_path}/u;\nscgi_temp_path {tmp_path}/s;\n{text}\n}}\n", "utf-8")  # fmt: skip
        checked = subprocess.run(["nginx", "-t", "-p", str(tmp_path), "-c", str(config)], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        running = subprocess.Popen(["nginx", "-p", str(tmp_path), "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            yield relay, f"localhost:{port}", made.key(relay, "read")
        finally:
            running.terminate()
            running.wait(20)


@needs_nginx
def test_reads_and_the_live_channel_come_through_nginx(proxied: tuple[Running, str, str]) -> None:
    _, address, key = proxied

    def ask(path: str, *words: str) -> str:
        return subprocess.run(["curl", "-sk", "--max-time", "20", "-w", " %{http_code}", *words, f"https://{address}{path}"], capture_output=True, text=True, check=False).stdout

    until(lambda: ask("/v1/ping").endswith(" 200"), "the relay answering through nginx")
    assert ask("/metrics").endswith(" 401"), "callers from elsewhere are not taken for callers on the same machine"
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with connect(f"wss://{address}/ws", ssl=trusting, additional_headers={"Authorization": f"Bearer {key}"}) as live:
        live.send('{"type":"subscribe","cursor":null,"tz":"UTC","sessions":10}')
        assert any('"feed"' in str(live.recv(timeout=20)) for _ in range(3))

"""The part of prometheus_client that is used here: families of metrics, and their text.

Imported by the first scrape, for as long as the program lives. The package's own __init__ and its web servers would
bring ssl, http.server, wsgiref and urllib, 10 MB; none of them is used.
"""

from __future__ import annotations

import importlib.util
import sys
import types

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PACKAGE = "prometheus_client"
_STAND_INS: dict[str, dict[str, object]] = {
    "base64": {},
    "gzip": {},
    "http": {},
    "http.server": {"BaseHTTPRequestHandler": object},
    "ssl": {"PROTOCOL_TLS_SERVER": None, "PROTOCOL_TLS_CLIENT": None, "SSLContext": object},
    "urllib": {},
    "urllib.error": {"HTTPError": Exception},
    "urllib.parse": dict.fromkeys(("parse_qs", "quote_plus", "urlparse")),
    "urllib.request": {
        **dict.fromkeys(("BaseHandler", "HTTPHandler", "HTTPSHandler", "Request"), object),
        "HTTPRedirectHandler": object,
        "build_opener": None,
    },
    "wsgiref": {},
    "wsgiref.simple_server": {
        "make_server": None,
        "WSGIRequestHandler": object,
        "WSGIServer": type("WSGIServer", (), {}),
    },
}


def _package() -> types.ModuleType:
    """The package without what its __init__ imports."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.submodule_search_locations is None:
        raise ImportError(f"no {_PACKAGE}")
    package = types.ModuleType(_PACKAGE)
    package.__path__ = list(found.submodule_search_locations)
    return package


_standing_in = {name: types.ModuleType(name) for name in _STAND_INS if name not in sys.modules}
for _name, _module in _standing_in.items():
    vars(_module).update(_STAND_INS[_name])
if _PACKAGE not in sys.modules:
    sys.modules[_PACKAGE] = _package()
sys.modules.update(_standing_in)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest  # noqa: E402
from prometheus_client.metrics_core import CounterMetricFamily as Counter  # noqa: E402
from prometheus_client.metrics_core import GaugeMetricFamily as Gauge  # noqa: E402
from prometheus_client.metrics_core import HistogramMetricFamily as Histogram  # noqa: E402
from prometheus_client.metrics_core import Metric  # noqa: E402
from prometheus_client.registry import Collector, CollectorRegistry  # noqa: E402

for _name in _standing_in:
    del sys.modules[_name]

KIND = CONTENT_TYPE_LATEST
__all__ = ["KIND", "Counter", "Gauge", "Histogram", "Metric", "text"]


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def text(families: Iterable[Metric]) -> str:
    """In the form of Prometheus's "Exposition formats", 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return generate_latest(registry).decode()

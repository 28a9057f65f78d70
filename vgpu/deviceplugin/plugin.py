"""One node's device plugin: the latest sample becomes the catalogue, and the kubelet is kept in touch.

Rule: `tick` is called about once a second by one thread and given the time; nothing else decides on health.
"""

import logging
from pathlib import Path

from vgpu.adapters.nvml import Missing
from vgpu.deviceplugin import survey
from vgpu.deviceplugin import v1beta1_pb2 as api
from vgpu.deviceplugin.devices import Card, Catalogue
from vgpu.deviceplugin.kubelet import API_VERSION, KubeletLink
from vgpu.deviceplugin.metrics import PluginMetrics
from vgpu.deviceplugin.roster import Roster
from vgpu.deviceplugin.sampling import Sampler
from vgpu.deviceplugin.service import DevicePluginService, Mode
from vgpu.deviceplugin.settings import Settings
from vgpu.deviceplugin.socket_server import SocketServer

TICK_S = 1.0
_log = logging.getLogger(__name__)


class Plugin:
    """Everything between the sampler and the kubelet."""

    def __init__(self, settings: Settings, *, sampler: Sampler, roster: Roster, metrics: PluginMetrics) -> None:
        self._settings = settings
        self._sampler = sampler
        self._roster = roster
        self._metrics = metrics
        self._known: tuple[Card, ...] = ()
        self._refusals: tuple[survey.Refusal, ...] = ()
        self._missing: Missing | None = None
        self._link: KubeletLink | None = None
        self._server: SocketServer | None = None
        if settings.mode is not Mode.NODE_STATUS:
            self._serve(settings)

    def _serve(self, settings: Settings) -> None:
        service = DevicePluginService(
            roster=self._roster, mode=settings.mode, facts=settings.facts, metrics=self._metrics
        )
        socket = Path(settings.plugin_dir) / f"{settings.resource.replace('/', '_')}.sock"
        self._server = SocketServer(socket, service.handler)
        self._link = KubeletLink(
            server=self._server,
            directory=Path(settings.plugin_dir),
            request=lambda: api.RegisterRequest(
                version=API_VERSION, endpoint=socket.name, resource_name=settings.resource, options=service.options()
            ),
            roster=self._roster,
            metrics=self._metrics,
        )

    def start(self) -> None:
        """Listen for the kubelet; SocketUnusable where that cannot be."""
        if self._server is not None:
            self._server.start()

    def tick(self, now_s: float) -> None:
        """Judge the cards and look after the registration; SocketUnusable ends the plugin.

        The kubelet hears of us once the driver has answered: a node without one advertises nothing, not 0.
        """
        self._judge(now_s)
        if self._link is not None and self._roster.edition.number:
            self._link.tick(now_s)

    def stop(self) -> None:
        """End streams and calls, and take the socket away. The kubelet keeps running what runs."""
        self._sampler.stop()
        self._roster.close()
        if self._server is not None:
            self._server.stop()

    def unhealthy(self, now_s: float) -> str:
        """Why a restart may help, or nothing."""
        sample = self._sampler.latest
        if sample is None:
            return "NVML has not been read yet"
        age_s = now_s - sample.taken_s
        return f"the last reading is {age_s:.0f} s old: the driver hangs" if self._is_stale(age_s) else ""

    def unready(self, now_s: float) -> str:
        """Why the devices cannot be had now, or nothing."""
        if wrong := self.unhealthy(now_s):
            return wrong
        if not self._roster.edition.number:
            return "no GPU has been read yet"
        if self._link is None:
            return ""
        if not self._link.is_registered:
            return "not registered with the kubelet"
        return "" if self._roster.watchers else "the kubelet does not follow the devices"

    def _judge(self, now_s: float) -> None:
        sample, settings = self._sampler.latest, self._settings
        if sample is None:
            return
        age_s = now_s - sample.taken_s
        self._metrics.set_age(age_s)
        if isinstance(sample.readings, Missing) and not self._known:
            self._report_missing(sample.readings)
            return
        seen = survey.take(sample.readings, self._known, units_per_device=settings.units_per_device)
        self._known = seen.cards
        seen = survey.with_strikes(seen, sample.strikes, now_s=now_s, quiet_s=settings.xid_quiet_s)
        if self._is_stale(age_s):
            seen = survey.with_stale_readings(seen, because=f"the driver has not answered for {settings.stale_s:.0f} s")
        self._publish(seen)

    def _report_missing(self, missing: Missing) -> None:
        if self._missing != missing:
            _log.warning("no GPU can be read: %s", missing.detail or missing.reason)
        self._missing = missing

    def _publish(self, seen: survey.Survey) -> None:
        for refusal in seen.refusals:
            if refusal not in self._refusals:
                _log.warning("not advertised: %s", refusal.message)
        before = {card.uuid: card for card in self._roster.catalogue.cards}
        catalogue = Catalogue(cards=seen.cards, units_per_device=self._settings.units_per_device)
        if self._roster.publish(catalogue) or seen.refusals != self._refusals:
            self._metrics.set_cards(catalogue, seen.refusals)
        self._refusals = seen.refusals
        for card in seen.cards:
            if card != before.get(card.uuid):
                _report(catalogue, card)

    def _is_stale(self, age_s: float) -> bool:
        return age_s > self._settings.stale_s


def _report(catalogue: Catalogue, card: Card) -> None:
    if card.healthy:
        _log.info(
            "GPU %s (%s): %d units, as devices of %d; %d MiB",
            card.uuid,
            card.name,
            card.units,
            catalogue.units_per_device,
            card.framebuffer_mib,
        )
    else:
        _log.warning("GPU %s is unhealthy: %s", card.uuid, card.unhealthy_because)

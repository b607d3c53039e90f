"""Which processes a stack consists of, on which ports, and what each is told through its environment."""

from dataclasses import dataclass

from pydantic import SecretStr

from core.settings import Settings, child_environment
from worker.launcher.ports import PortChooser
from worker.launcher.roles import Probe, Role, http_probe, loopback_of, own_command, simulator_command

LOOPBACK = "127.0.0.1"
# How the simulated agent behaves: usually done well within the welcome's deadline, as one that is set up for it would be.
AGENT_PROFILE = "quick"
# Short database work: few processes. Waiting for agents: a thread a message under way, and at 100 registrations a second an
# agent that takes a second has 100 of them.
JOURNEY_WORKER = ("--queues", "journeys,notifications,maintenance", "--pool", "prefork", "--concurrency", "2")
AGENT_WORKER = ("--queues", "agents", "--pool", "threads", "--concurrency", "256")


@dataclass(frozen=True)
class Ports:
    """Every port of a stack, chosen before anything starts so that all can be told of all."""

    bind: str
    api: int
    mcp: int
    flower: int
    metrics: int
    agent_simulator: int
    push_simulator: int

    @property
    def host(self) -> str:
        """Where a local client reaches what is bound."""
        host = loopback_of(self.bind)
        return f"[{host}]" if ":" in host else host

    @property
    def api_url(self) -> str:
        return f"http://{self.host}:{self.api}"

    @property
    def mcp_url(self) -> str:
        return f"http://{self.host}:{self.mcp}/mcp"

    @property
    def flower_url(self) -> str:
        return f"http://{self.host}:{self.flower}"

    @property
    def metrics_urls(self) -> list[str]:
        return [f"http://{self.host}:{port}/metrics" for port in (self.api, self.mcp, self.metrics)]

    @property
    def agent_simulator_url(self) -> str:
        return f"http://{LOOPBACK}:{self.agent_simulator}"

    @property
    def push_simulator_url(self) -> str:
        return f"http://{LOOPBACK}:{self.push_simulator}"


def choose_ports(settings: Settings, chooser: PortChooser) -> Ports:
    """Return the configured ports, each moved to the next free one where it is taken."""
    return Ports(
        bind=settings.bind,
        api=chooser.wanted(settings.api_port, "api"),
        mcp=chooser.wanted(settings.mcp_port, "mcp"),
        flower=chooser.wanted(settings.flower_port, "flower"),
        metrics=chooser.wanted(settings.metrics_port, "metrics"),
        agent_simulator=chooser.any(),
        push_simulator=chooser.any(),
    )


@dataclass(frozen=True)
class Plan:
    """What the processes of one stack are told."""

    settings: Settings
    ports: Ports
    agent_key: SecretStr
    mcp_key: SecretStr

    def simulators(self) -> list[Role]:
        """The agent the welcome is asked of, which calls our MCP server itself, and the receiver of pushes."""
        agent, push = self.ports.agent_simulator, self.ports.push_simulator
        return [
            Role(
                name="agent-simulator",
                label="agent-simulator",
                arguments=simulator_command("dify", "--port", str(agent)),
                environment=self._environment(
                    SIM_APP_KEYS=f"{self.agent_key.get_secret_value()}:{AGENT_PROFILE}",
                    SIM_MCP_URL=self.ports.mcp_url,
                    SIM_MCP_KEY=self.mcp_key.get_secret_value(),
                ),
                probe=http_probe(LOOPBACK, agent, "/__sim__/health"),
            ),
            Role(
                name="push-simulator",
                label="push-simulator",
                arguments=simulator_command("push", "--port", str(push)),
                environment=self._environment(),
                probe=http_probe(LOOPBACK, push, "/__sim__/health"),
            ),
        ]

    def product(self) -> list[Role]:
        """Our own processes."""
        ports = self.ports
        probes = {
            "api": http_probe(ports.bind, ports.api, "/healthz"),
            "mcp": http_probe(ports.bind, ports.mcp, "/healthz"),
            "beat": http_probe(ports.bind, ports.metrics, "/metrics"),
            "flower": http_probe(ports.bind, ports.flower, "/healthcheck"),
        }
        workers = [
            self._own("worker", label, "worker", *options, "--announce")
            for label, options in (("worker", JOURNEY_WORKER), ("worker-agents", AGENT_WORKER))
        ]
        shells = [self._own(name, name, name, probe=probe) for name, probe in probes.items()]
        return [*shells[:2], *workers, *shells[2:]]

    def _own(self, name: str, label: str, *command: str, probe: Probe | None = None) -> Role:
        return Role(
            name=name,
            label=label,
            arguments=own_command(*command),
            environment=self._environment(),
            probe=probe,
        )

    def _environment(self, **further: str) -> dict[str, str]:
        return child_environment(
            {
                "ANMEI_DATA_DIR": self.settings.data_dir,
                "ANMEI_DATABASE_URL": self.settings.database_url,
                "ANMEI_BROKER_URL": self.settings.broker_url,
                "ANMEI_REDIS_URL": self.settings.redis_url,
                "ANMEI_API_PORT": self.ports.api,
                "ANMEI_MCP_PORT": self.ports.mcp,
                "ANMEI_FLOWER_PORT": self.ports.flower,
                "ANMEI_METRICS_PORT": self.ports.metrics,
                **further,
            }
        )

"""The semantic cache in PostgreSQL with pgvector, which the gateways of several machines share."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from importlib.resources import files
from typing import Any, Final, Self

import psycopg
from psycopg import sql

from cache.calibration import Evidence
from cache.published import Domains, DomainState, Totals, latest_states
from cache.rows import DomainRow, Sample, SemanticRow
from cache.stores.postgres_link import Line, PostgresLink, connect
from cache.vectors.pgvector import Unit, UnitDumper, row_of
from farthing.errors import ConfigError
from farthing.ports import Clock

_SCHEMA: Final = "farthing_cache_1"
_INSERT: Final = """
    WITH kept AS (
        INSERT INTO questions (scope, prompt, answer, writer, expires_ns)
        VALUES (%(scope)s, %(prompt)s, %(answer)s, %(writer)s, %(expires_ns)s) RETURNING id
    )
    INSERT INTO vectors (scope, id, expires_ns, vector)
    SELECT %(scope)s, id, %(expires_ns)s, %(vector)s::vector FROM kept RETURNING id
"""
_ALIVE: Final = """
    SELECT id, prompt, answer, writer, admitted FROM questions WHERE id = ANY(%s) AND scope = %s AND expires_ns > %s
"""
_ADMIT: Final = "UPDATE questions SET admitted = true WHERE id = %s"
_EXPIRED: Final = "SELECT id, scope FROM questions WHERE expires_ns <= %s ORDER BY expires_ns LIMIT %s"
_OLDEST: Final = "SELECT id FROM vectors WHERE scope = %s ORDER BY id DESC OFFSET %s"
_DELETE: Final = """
    WITH gone AS (DELETE FROM questions WHERE id = ANY(%s) RETURNING scope, id)
    DELETE FROM vectors USING gone WHERE vectors.scope = gone.scope AND vectors.id = gone.id
"""
_KEEP: Final = """
    WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(hashtext(encode(%(domain)s, 'hex'))) IS NULL AS taken)
    INSERT INTO samples (domain, entry, evidence, same, weight, served, would, kept)
    SELECT %(domain)s, %(entry)s::bigint, %(evidence)s::text, %(same)s::boolean, %(weight)s::float8,
           %(served)s::boolean, %(would)s::boolean, %(kept)s::bigint
    FROM turn WHERE NOT taken
"""
_SAMPLES: Final = """
    SELECT id, entry, evidence, same, weight, served, would, kept FROM samples
    WHERE domain = %s AND id > %s ORDER BY id DESC LIMIT %s
"""
_FORGET: Final = """
    DELETE FROM samples WHERE domain = %(domain)s AND id <= (
        SELECT id FROM samples WHERE domain = %(domain)s ORDER BY id DESC LIMIT 1 OFFSET %(keep)s
    )
"""
_LOAD: Final = "SELECT feature, state, watermark, hit_share, calibrated, stopped FROM domains WHERE domain = %s"
_SAVE: Final = """
    INSERT INTO domains (domain, feature, state, watermark, hit_share, calibrated, stopped)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (domain) DO UPDATE SET feature = excluded.feature, state = excluded.state,
        watermark = excluded.watermark, hit_share = excluded.hit_share, calibrated = excluded.calibrated,
        stopped = excluded.stopped
"""
_TALLY: Final = """
    INSERT INTO totals (feature, name, value)
    SELECT %s, name, value::numeric FROM unnest(%s::text[], %s::text[]) AS sums (name, value) ORDER BY name
    ON CONFLICT (feature, name) DO UPDATE SET value = totals.value + excluded.value
"""
_TOTALS: Final = "SELECT feature, name, value FROM totals"
_DOMAINS: Final = """
    SELECT feature, count(*), sum(calibrated::int), sum(stopped::int) FROM domains GROUP BY feature
"""
_STATES: Final = """
    SELECT domain, calibrated, stopped,
           (SELECT count(*) FROM samples WHERE samples.domain = domains.domain AND same IS NOT NULL)
    FROM domains ORDER BY watermark
"""

_Rows = list[tuple[Any, ...]]


class PgvectorRows:
    """Ports `SemanticRows` and `EvidenceRows`. Every method raises RowsAway or psycopg.Error where the server does not
    answer."""

    def __init__(self, link: PostgresLink) -> None:
        self.link = link

    @classmethod
    def open(cls, url: str, clock: Clock, *, late_s: float) -> Self:
        """The rows of the database at `url`. A server that does not answer is away, until it is not; answers later
        than `late_s` count as none. Blocks for some seconds at most.

        Raises ConfigError where the server answers and cannot be used.
        """
        link = PostgresLink(url, clock, prepare, late_s=late_s)
        try:
            link.open()
        except BaseException:
            link.close()
            raise
        return cls(link)

    # --- rows ------------------------------------------------------------------------------------

    def insert(self, scope: bytes, prompt: str, vector: bytes, answer: bytes, *, writer: str, expires_ns: int) -> int:
        """See the port."""
        values = {
            "scope": scope,
            "prompt": prompt.encode(),
            "answer": answer,
            "writer": writer,
            "expires_ns": expires_ns,
            "vector": Unit(vector),
        }
        ((row_id,),) = self._rows(_INSERT, values)
        return int(row_id)

    def alive(self, scope: bytes, ids: Iterable[int], now_ns: int) -> dict[int, SemanticRow]:
        """See the port."""
        wanted = list(ids)
        found = self._rows(_ALIVE, (wanted, scope, now_ns)) if wanted else []
        return {row[0]: row_of(*row) for row in found}

    def admit(self, row_id: int) -> None:
        """See the port."""
        self._do(_ADMIT, (row_id,))

    def expired(self, now_ns: int, limit: int) -> list[tuple[int, bytes]]:
        """See the port."""
        return [(row_id, scope) for row_id, scope in self._rows(_EXPIRED, (now_ns, limit))]

    def beyond(self, scope: bytes, keep: int) -> list[int]:
        """See the port."""
        return [row_id for (row_id,) in self._rows(_OLDEST, (scope, keep))]

    def delete(self, ids: Sequence[int]) -> None:
        """See the port."""
        if ids:
            self._do(_DELETE, (list(ids),))

    # --- evidence --------------------------------------------------------------------------------

    def keep(self, domain: str, sample: Sample) -> None:
        """See the port. One at a time of each domain, so that who has read up to an id finds all newer ones above."""
        values = {
            "domain": domain.encode(),
            "entry": sample.entry,
            "evidence": json.dumps(sample.evidence),
            "same": sample.same,
            "weight": sample.weight,
            "served": sample.served,
            "would": sample.would,
            "kept": sample.kept,
        }
        self._do(_KEEP, values)

    def samples(self, domain: str, than: int, limit: int) -> list[tuple[int, Sample]]:
        """See the port."""
        found = self._rows(_SAMPLES, (domain.encode(), than, limit))
        return [(row[0], _sample(*row[1:])) for row in reversed(found)]

    def forget(self, domain: str, keep: int) -> None:
        """See the port."""
        self._do(_FORGET, {"domain": domain.encode(), "keep": keep})

    def load(self, domain: str) -> DomainRow | None:
        """See the port."""
        for feature, state, watermark, hit_share, calibrated, stopped in self._rows(_LOAD, (domain.encode(),)):
            return DomainRow(
                feature=feature,
                state=state,
                watermark=watermark,
                hit_share=hit_share,
                calibrated=calibrated,
                stopped=stopped,
            )
        return None

    def save(self, domain: str, row: DomainRow) -> None:
        """See the port."""
        values = (row.feature, row.state, row.watermark, row.hit_share, row.calibrated, row.stopped)
        self._do(_SAVE, (domain.encode(), *values))

    def tally(self, feature: str, sums: Mapping[str, float]) -> None:
        """See the port."""
        self._do(_TALLY, (feature, list(sums), [repr(value) for value in sums.values()]))

    def close(self) -> None:
        """See the port."""
        self.link.close()

    def _rows(self, statement: str, values: Sequence[Any] | Mapping[str, Any]) -> _Rows:
        text = statement.encode()
        return self.link.ask(lambda connection: connection.execute(text, values, binary=True).fetchall())

    def _do(self, statement: str, values: Sequence[Any] | Mapping[str, Any]) -> None:
        text = statement.encode()
        self.link.ask(lambda connection: connection.execute(text, values))


def prepare(connection: Line) -> None:
    """Settings of a new connection; the tables, where they are missing. Raises ConfigError or psycopg.Error."""
    connection.adapters.register_dumper(Unit, UnitDumper)
    # What is lost in a crash of the server costs money alone. A statement that nobody waits for is ended.
    connection.execute("SET synchronous_commit TO off; SET statement_timeout TO '2s'; SET lock_timeout TO '2s'")
    try:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('farthing_cache'))")
            where = _extension(connection)
            path = sql.SQL("SET search_path TO {}, {}").format(sql.Identifier(_SCHEMA), sql.Identifier(where))
            connection.execute(path)
            if connection.execute("SELECT to_regclass('totals') IS NULL").fetchone() == (True,):
                connection.execute(files("cache.stores").joinpath("pgvector.sql").read_text("utf-8").encode())
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported) as error:
        raise ConfigError(
            f"The database of `cache.semantic.url` cannot be used ({str(error).strip().splitlines()[0]}): have an "
            "administrator of its server install pgvector and run CREATE EXTENSION vector there, and let the gateway's "
            "user make a schema (GRANT CREATE ON DATABASE)."
        ) from None


def _extension(connection: Line) -> str:
    """The schema of pgvector, which is made where it is missing."""
    asked = b"SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'"
    found = connection.execute(asked).fetchone()
    if found is None:
        connection.execute("CREATE EXTENSION vector")
        found = connection.execute(asked).fetchone()
    return str(found[0]) if found else "public"


def _sample(
    entry: int, evidence: str, same: bool | None, weight: float, served: bool, would: bool, kept: int | None
) -> Sample:
    return Sample(
        entry=entry,
        evidence=Evidence(*json.loads(evidence)),
        same=same,
        weight=weight,
        served=served,
        would=would,
        kept=kept,
    )


def read_figures(url: str) -> tuple[Totals, Domains, list[DomainState]]:
    """What `cache.published.report` is made of, and how each domain stands; empty where no gateway has used the
    database. Raises psycopg.Error where the server does not answer; may run in any thread."""
    with closing(connect(url)) as connection:
        connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(_SCHEMA)))
        if connection.execute("SELECT to_regclass('totals') IS NULL").fetchone() == (True,):
            return {}, {}, []
        return _figures(connection)


def _figures(connection: Line) -> tuple[Totals, Domains, list[DomainState]]:
    totals: dict[str, dict[str, float]] = {}
    for feature, name, value in connection.execute(_TOTALS).fetchall():
        totals.setdefault(feature, {})[name] = _number(value)
    domains = {feature: (all_, ready, stopped) for feature, all_, ready, stopped in connection.execute(_DOMAINS)}
    states = [
        (domain.decode(), ready, stopped, compared)
        for domain, ready, stopped, compared in connection.execute(_STATES).fetchall()
    ]
    return totals, domains, latest_states(states)


def _number(value: Decimal) -> float:
    """Whole numbers stay exact."""
    return int(value) if value == value.to_integral_value() else float(value)

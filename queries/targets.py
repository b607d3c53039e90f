"""Whom to tell of a new customer, as parts of the notification's statement: who is able, and who of them is chosen.

`done` holds the journeys; `target` gives journey_id and payload of those, consultant_id, channel, and whether another channel comes later.
"""

from queries.consultants import CONNECTED

# Each consultant with the channel whose turn is first, and how good it is to tell them: who is online comes before who is
# on shift, and both before everybody else. `later` says that another channel follows it.
ABLE = f"""
able AS MATERIALIZED (
    SELECT c.id, c.languages, c.skills, o.channel, o.later,
           CASE WHEN o.online THEN 1 WHEN c.id = ANY(CAST(:on_shift AS uuid[])) THEN 2 ELSE 3 END AS tier
    FROM consultants c
    CROSS JOIN LATERAL (
        SELECT {CONNECTED} AND c.away_since IS NULL AS online,
               EXISTS (SELECT FROM push_channels p WHERE p.consultant_id = c.id AND p.enabled) AS reachable
    ) k
    CROSS JOIN LATERAL (
        SELECT k.online, w.channel, count(*) OVER () > 1 AS later
        FROM unnest(CAST(:channels AS text[])) WITH ORDINALITY AS w(channel, place)
        WHERE CASE w.channel WHEN 'websocket' THEN k.online ELSE k.reachable END
        ORDER BY w.place LIMIT 1
    ) o
    WHERE c.enabled AND :enabled
)"""

EVERYBODY = """
target AS (
    SELECT d.journey_id, d.payload, a.id AS consultant_id, a.channel, a.later
    FROM done d CROSS JOIN able a WHERE a.tier = (SELECT min(tier) FROM able)
)"""

# The best few of those online: language first, then shared interests, then chance. The chance is the same for whoever has
# as little to do (an exponential race, its rate falling with the load), so a burst is spread without counting within it.
# Nobody online is no time to be choosy.
BEST = """
loaded AS MATERIALIZED (
    SELECT a.*, (SELECT count(*) FROM conversations v
                 WHERE v.claimed_by_id = a.id AND v.claimed_at > now() - interval '1 day') AS load
    FROM able a WHERE a.tier = (SELECT min(tier) FROM able)
),
ranked AS (
    SELECT d.journey_id, d.payload, a.id AS consultant_id, a.channel, a.later, a.tier, row_number() OVER (
        PARTITION BY d.journey_id
        ORDER BY CASE WHEN a.languages = '[]'::jsonb THEN coalesce(g.language, 'zh') = 'zh'
                      ELSE g.language IS NULL OR jsonb_exists(a.languages, g.language) END DESC,
                 (SELECT count(*) FROM jsonb_array_elements_text(u.interests) i WHERE jsonb_exists(a.skills, i.value)) DESC,
                 -ln((('x' || left(md5(d.journey_id::text || a.id::text), 8))::bit(32)::bigint + 1) / 4294967297.0) * (1 + a.load)
        ) AS place
    FROM done d
    JOIN journeys j ON j.id = d.journey_id
    JOIN users u ON u.id = j.user_id
    CROSS JOIN LATERAL (SELECT nullif(lower(split_part(replace(u.locale, '_', '-'), '-', 1)), '') AS language) g
    CROSS JOIN loaded a
),
target AS (
    SELECT journey_id, payload, consultant_id, channel, later FROM ranked WHERE tier > 1 OR place <= :told_at_most
)"""

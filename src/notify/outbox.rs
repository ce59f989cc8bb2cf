//! The messages that wait, and the memory of what was told: one SQLite file beside the ledger. Both are written
//! together, so that a crash neither loses a message nor tells the same again.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::courier::Attachment;
use crate::control::DeliveryView;
use crate::plan::alarm::{Channel, DeliveryFact, Kept, Outcome, Post, give_up, next_attempt};

/// The format that this version writes, kept in `PRAGMA user_version`.
const FORMAT: u32 = 1;
/// The tables of format 1.
const TABLES: &str = "
    CREATE TABLE kept (one INTEGER PRIMARY KEY CHECK (one = 1), body TEXT NOT NULL) STRICT;
    CREATE TABLE message (
        id         INTEGER PRIMARY KEY,
        who        TEXT NOT NULL,
        channel    TEXT NOT NULL,
        made       INTEGER NOT NULL,
        next       INTEGER NOT NULL,
        failed     INTEGER NOT NULL DEFAULT 0,
        first_fail INTEGER,
        state      TEXT NOT NULL DEFAULT 'waiting',
        said       TEXT,
        settled    INTEGER,
        post       TEXT NOT NULL,
        file_name  TEXT,
        file_type  TEXT,
        file       BLOB
    ) STRICT;
    CREATE INDEX message_by_state ON message (state, channel, id);
";
/// So many messages that are settled are kept to be shown.
const SETTLED_KEPT: u32 = 500;
/// A message that waits is told of when it was refused for so long.
const TOLD_AFTER: TimeDelta = TimeDelta::hours(1);
/// So many refusals in a row, and a place is left alone for [`LEFT_ALONE`].
const REFUSALS_IN_A_ROW: usize = 3;
/// How long a place is left alone that refuses everything.
const LEFT_ALONE: TimeDelta = TimeDelta::days(1);

/// Why the messages cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// A newer version has written it.
    #[error("the messages in {} have format {found}, and this version of latent reads up to {FORMAT}; upgrade latent", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It cannot be read or written.
    #[error("the messages in {} cannot be kept: {why}; check the folder's owner, its mode and the free space", path.display())]
    Storage {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// A message that waits.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Its place in the outbox.
    pub id: i64,
    /// It.
    pub post: Post,
    /// A file that goes with it.
    pub attachment: Option<Attachment>,
}

/// The messages that wait, and the memory of what was told.
#[derive(Debug)]
pub struct Outbox {
    path: PathBuf,
    connection: Connection,
}

type Sql<T> = Result<T, rusqlite::Error>;

impl Outbox {
    /// Opens or makes it.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn open(path: &Path) -> Result<Self, OutboxError> {
        let storage = |why: String| OutboxError::Storage { path: path.to_path_buf(), why };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| storage(error.to_string()))?;
        }
        Self::with(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE, true)
    }

    /// Opens one that is there, to read it beside who writes it.
    ///
    /// # Errors
    /// [`OutboxError`], also if there is none.
    pub fn look(path: &Path) -> Result<Self, OutboxError> {
        Self::with(path, OpenFlags::SQLITE_OPEN_READ_ONLY, false)
    }

    fn with(path: &Path, flags: OpenFlags, make: bool) -> Result<Self, OutboxError> {
        let path = path.to_path_buf();
        let open = || -> Sql<(Connection, u32)> {
            let mut connection = Connection::open_with_flags(&path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.execute_batch("PRAGMA busy_timeout = 5000;")?;
            let found: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            if make && found < FORMAT {
                connection.execute_batch("PRAGMA journal_mode = WAL;")?;
                let made = connection.transaction()?;
                made.execute_batch(TABLES)?;
                made.pragma_update(None, "user_version", FORMAT)?;
                made.commit()?;
            }
            if make {
                connection.execute_batch("PRAGMA synchronous = FULL;")?;
            }
            Ok((connection, found))
        };
        let (connection, found) =
            open().map_err(|error| OutboxError::Storage { path: path.clone(), why: error.to_string() })?;
        if found > FORMAT {
            return Err(OutboxError::Newer { path, found });
        }
        Ok(Self { path, connection })
    }

    fn told<T>(&self, result: Sql<T>) -> Result<T, OutboxError> {
        result.map_err(|error| OutboxError::Storage { path: self.path.clone(), why: error.to_string() })
    }

    /// What is remembered; nothing if that cannot be read any more, and what is so is told anew then.
    ///
    /// # Errors
    /// [`OutboxError::Storage`].
    pub fn kept(&self) -> Result<Kept, OutboxError> {
        let read = self.connection.query_row("SELECT body FROM kept", [], |row| row.get::<_, String>(0)).optional();
        let Some(text) = self.told(read)? else { return Ok(Kept::default()) };
        Ok(serde_json::from_str(&text).unwrap_or_else(|error| {
            tracing::error!(%error, "what was told cannot be read any more; what is so is told anew");
            Kept::default()
        }))
    }

    /// Writes what is remembered and the messages that follow from it: both, or neither.
    ///
    /// # Errors
    /// [`OutboxError::Storage`]; nothing was written then.
    pub fn commit(&mut self, kept: &Kept, posts: &[(Post, Option<Attachment>)]) -> Result<(), OutboxError> {
        let result = self.write(kept, posts);
        self.told(result)
    }

    fn write(&mut self, kept: &Kept, posts: &[(Post, Option<Attachment>)]) -> Sql<()> {
        let json = |error: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(error.into());
        let transaction = self.connection.transaction()?;
        let text = serde_json::to_string(kept).map_err(json)?;
        transaction.execute("INSERT OR REPLACE INTO kept (one, body) VALUES (1, ?1)", [text])?;
        for (post, file) in posts {
            let at = post.at.timestamp_millis();
            let text = serde_json::to_string(post).map_err(json)?;
            transaction.execute(
                "INSERT INTO message (who, channel, made, next, post, file_name, file_type, file)
                 VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7)",
                params![
                    post.who.to_string(),
                    post.channel.to_string(),
                    at,
                    text,
                    file.as_ref().map(|file| &file.name),
                    file.as_ref().map(|file| &file.media_type),
                    file.as_ref().map(|file| &file.content),
                ],
            )?;
        }
        transaction.commit()
    }

    /// The messages to be tried now: of each place the oldest, if its time has come. One that cannot be read is given
    /// up, so that those behind it come.
    ///
    /// # Errors
    /// [`OutboxError::Storage`].
    pub fn due(&self, now: DateTime<Utc>) -> Result<Vec<Queued>, OutboxError> {
        let result = self.read_due(now);
        let mut due = Vec::new();
        for (id, post, attachment) in self.told(result)? {
            match serde_json::from_str(&post) {
                Ok(post) => due.push(Queued { id, post, attachment }),
                Err(error) => {
                    tracing::error!(id, %error, "a message cannot be read and is given up");
                    let written = self.set_aside(id, now);
                    self.told(written)?;
                }
            }
        }
        Ok(due)
    }

    fn read_due(&self, now: DateTime<Utc>) -> Sql<Vec<(i64, String, Option<Attachment>)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, post, file_name, file_type, file FROM message WHERE next <= ?1 AND id IN
             (SELECT min(id) FROM message WHERE state = 'waiting' GROUP BY channel) ORDER BY id LIMIT 64",
        )?;
        let rows = statement.query_map([now.timestamp_millis()], |row| {
            let file = match (row.get(2)?, row.get(3)?, row.get(4)?) {
                (Some(name), Some(media_type), Some(content)) => Some(Attachment { name, media_type, content }),
                _ => None,
            };
            Ok((row.get(0)?, row.get(1)?, file))
        })?;
        rows.collect()
    }

    fn set_aside(&self, id: i64, now: DateTime<Utc>) -> Sql<()> {
        let written = self.connection.execute(
            "UPDATE message SET state = 'given-up', said = 'it cannot be read by this version', failed = failed + 1,
             settled = ?2, file = NULL, first_fail = coalesce(first_fail, ?2) WHERE id = ?1",
            params![id, now.timestamp_millis()],
        );
        written.map(drop)
    }

    /// When the next message is to be tried; none if none waits.
    ///
    /// # Errors
    /// [`OutboxError::Storage`].
    pub fn next(&self) -> Result<Option<DateTime<Utc>>, OutboxError> {
        let next = self.connection.query_row(
            "SELECT min(next) FROM message WHERE id IN
             (SELECT min(id) FROM message WHERE state = 'waiting' GROUP BY channel)",
            [],
            |row| row.get::<_, Option<i64>>(0),
        );
        Ok(self.told(next)?.and_then(DateTime::from_timestamp_millis))
    }

    /// Writes what came of trying a message.
    ///
    /// # Errors
    /// [`OutboxError::Storage`].
    pub fn settle(&mut self, queued: &Queued, now: DateTime<Utc>, outcome: &Outcome) -> Result<(), OutboxError> {
        let result = self.write_outcome(queued, now, outcome);
        self.told(result)
    }

    fn write_outcome(&mut self, queued: &Queued, now: DateTime<Utc>, outcome: &Outcome) -> Sql<()> {
        let transaction = self.connection.transaction()?;
        let (at, id) = (now.timestamp_millis(), queued.id);
        match outcome {
            Outcome::Taken(said) => {
                transaction.execute(
                    "UPDATE message SET state = 'taken', said = ?2, settled = ?3, file = NULL WHERE id = ?1",
                    params![id, said, at],
                )?;
            }
            Outcome::Later(said, asked) => {
                let failed: u32 =
                    transaction.query_row("SELECT failed FROM message WHERE id = ?1", [id], |row| row.get(0))?;
                let state = if give_up(now, queued.post.at) { "given-up" } else { "waiting" };
                let next = next_attempt(now, failed + 1, *asked).timestamp_millis();
                transaction.execute(
                    "UPDATE message SET state = ?2, said = ?3, failed = ?4, next = ?5,
                     first_fail = coalesce(first_fail, ?6),
                     settled = CASE ?2 WHEN 'waiting' THEN NULL ELSE ?6 END,
                     file = CASE ?2 WHEN 'waiting' THEN file ELSE NULL END WHERE id = ?1",
                    params![id, state, said, failed + 1, next, at],
                )?;
            }
            Outcome::Refused(said) => {
                transaction.execute(
                    "UPDATE message SET state = 'refused', said = ?2, failed = failed + 1, settled = ?3, file = NULL,
                     first_fail = coalesce(first_fail, ?3) WHERE id = ?1",
                    params![id, said, at],
                )?;
            }
        }
        // The last one of each place says whether messages reach it.
        transaction.execute(
            "DELETE FROM message WHERE state != 'waiting' AND id NOT IN
             (SELECT id FROM message WHERE state != 'waiting' ORDER BY id DESC LIMIT ?1)
             AND id NOT IN
             (SELECT max(id) FROM message WHERE state NOT IN ('waiting', 'dropped') GROUP BY channel)",
            [SETTLED_KEPT],
        )?;
        transaction.commit()
    }

    /// Leaves alone the messages for places that nobody names any more: they are not sent, and that they did not
    /// arrive is no trouble any more.
    ///
    /// # Errors
    /// [`OutboxError::Storage`].
    pub fn keep_only(&mut self, places: &[String], now: DateTime<Utc>) -> Result<(), OutboxError> {
        let all = serde_json::to_string(places).unwrap_or_else(|_| "[]".to_owned());
        let done = self.connection.execute(
            "UPDATE message SET state = 'dropped', settled = coalesce(settled, ?2), file = NULL,
             said = CASE state WHEN 'waiting' THEN 'nobody is told there any more' ELSE said END
             WHERE state IN ('waiting', 'refused', 'given-up')
               AND channel NOT IN (SELECT value FROM json_each(?1))",
            params![all, now.timestamp_millis()],
        );
        self.told(done).map(drop)
    }

    /// The places that messages do not reach: the last one was not taken, or one has waited too long. Only a
    /// message that is taken says that they reach it again.
    ///
    /// # Errors
    /// [`OutboxError::Storage`].
    pub fn unreached(&self, now: DateTime<Utc>) -> Result<Vec<DeliveryFact>, OutboxError> {
        let read = || -> Sql<Vec<DeliveryFact>> {
            let mut statement = self.connection.prepare_cached(
                "SELECT channel, max(who), min(first_fail), sum(state = 'waiting'),
                        sum(state != 'waiting' AND settled > ?2),
                        (SELECT said FROM message AS last WHERE last.channel = bad.channel AND last.failed > 0
                         ORDER BY coalesce(last.settled, last.next) DESC, last.id DESC LIMIT 1)
                 FROM message AS bad
                 WHERE ((state = 'waiting' AND failed > 0 AND first_fail <= ?1)
                     OR state IN ('refused', 'given-up'))
                   AND NOT EXISTS (SELECT 1 FROM message AS good WHERE good.channel = bad.channel
                                   AND good.state = 'taken' AND good.id > bad.id)
                 GROUP BY channel ORDER BY channel",
            )?;
            let since = (now - TOLD_AFTER).timestamp_millis();
            let rows = statement.query_map(params![since, (now - LEFT_ALONE).timestamp_millis()], |row| {
                let place: String = row.get(0)?;
                let since = row.get::<_, Option<i64>>(2)?.and_then(DateTime::from_timestamp_millis).unwrap_or(now);
                let channel = place.parse().unwrap_or_else(|_| Channel::Webhook(place.clone()));
                let (who, waiting, lost) = (row.get(1)?, row.get(3)?, row.get(4)?);
                let why = row.get::<_, Option<String>>(5)?.unwrap_or_default();
                Ok(DeliveryFact { place, channel, who, since, why, waiting, lost })
            })?;
            rows.collect()
        };
        self.told(read())
    }

    /// The places for which nothing more is made up: one message of theirs waits after a failure, or they have
    /// refused everything lately. What is to be told there is gathered meanwhile.
    ///
    /// # Errors
    /// [`OutboxError::Storage`].
    pub fn blocked(&self, now: DateTime<Utc>) -> Result<Vec<Channel>, OutboxError> {
        let read = || -> Sql<Vec<Channel>> {
            let mut statement = self
                .connection
                .prepare_cached("SELECT channel, state, failed, settled FROM message ORDER BY channel, id DESC")?;
            let rows = statement.query_map([], |row| {
                let (channel, state): (String, String) = (row.get(0)?, row.get(1)?);
                Ok((channel, state, row.get::<_, u32>(2)?, row.get::<_, Option<i64>>(3)?))
            })?;
            let rows = rows.collect::<Sql<Vec<_>>>()?;
            let recent = (now - LEFT_ALONE).timestamp_millis();
            let mut blocked = Vec::new();
            for place in rows.chunk_by(|one, other| one.0 == other.0) {
                let fails = place.iter().any(|(_, state, failed, _)| state == "waiting" && *failed > 0);
                let last = place.get(..REFUSALS_IN_A_ROW).unwrap_or_default();
                let refuses = last.len() == REFUSALS_IN_A_ROW
                    && last.iter().all(|(_, state, _, _)| state == "refused")
                    && last[0].3.is_some_and(|at| at > recent);
                blocked.extend(place.first().filter(|_| fails || refuses).and_then(|row| row.0.parse().ok()));
            }
            Ok(blocked)
        };
        self.told(read())
    }

    /// The last messages, the newest first.
    ///
    /// # Errors
    /// [`OutboxError::Storage`].
    pub fn last(&self, limit: u32) -> Result<Vec<DeliveryView>, OutboxError> {
        let view = |row: &Row<'_>| -> Sql<DeliveryView> {
            let time = |at: Option<i64>| at.and_then(DateTime::from_timestamp_millis);
            let (state, post): (String, String) = (row.get(4)?, row.get(6)?);
            let post: Option<Post> = serde_json::from_str(&post).ok();
            Ok(DeliveryView {
                at: time(row.get(2)?).unwrap_or_default(),
                who: row.get(0)?,
                place: row.get(1)?,
                subject: post.and_then(|post| post.notices.first().map(|one| one.title.clone())).unwrap_or_default(),
                next: time(row.get(5)?).filter(|_| state == "waiting"),
                state,
                failed: row.get(3)?,
                said: row.get(7)?,
            })
        };
        let read = || -> Sql<Vec<DeliveryView>> {
            let mut statement = self.connection.prepare_cached(
                "SELECT who, channel, made, failed, state, next, post, said FROM message ORDER BY id DESC LIMIT ?1",
            )?;
            statement.query_map([limit], view)?.collect()
        };
        self.told(read())
    }
}

-- The tables of a new store, of revision 0003; written by scripts/freeze_tables.py.

CREATE TABLE schema_revision (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT schema_revision_pkc PRIMARY KEY (version_num)
);

CREATE TABLE settings (
	"key" TEXT NOT NULL,
	value TEXT NOT NULL,
	PRIMARY KEY ("key")
);

CREATE TABLE keks (
	id BLOB NOT NULL,
	deployment TEXT NOT NULL,
	team TEXT NOT NULL,
	number INTEGER NOT NULL,
	state TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	canary BLOB NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (deployment, team, number)
);

CREATE TABLE kek_wraps (
	kek_id BLOB NOT NULL,
	number INTEGER NOT NULL,
	kind TEXT NOT NULL,
	name TEXT NOT NULL,
	wrapped BLOB NOT NULL,
	PRIMARY KEY (kek_id, number),
	FOREIGN KEY(kek_id) REFERENCES keks (id)
);

CREATE TABLE entries (
	id BLOB NOT NULL,
	deployment TEXT NOT NULL,
	team TEXT NOT NULL,
	kind TEXT NOT NULL,
	name TEXT NOT NULL,
	current_version INTEGER NOT NULL,
	is_deleted INTEGER NOT NULL,
	conn_type TEXT,
	description TEXT,
	tags TEXT NOT NULL,
	owner TEXT,
	remind_at BIGINT,
	not_after BIGINT,
	expires_at BIGINT,
	has_references INTEGER NOT NULL,
	changed_at BIGINT NOT NULL,
	changed_by TEXT NOT NULL,
	mac BLOB NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (deployment, team, kind, name)
);

CREATE INDEX entries_expiring ON entries (deployment, expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE versions (
	entry_id BLOB NOT NULL,
	number INTEGER NOT NULL,
	sealed BLOB NOT NULL,
	kek_id BLOB NOT NULL,
	conn_type TEXT,
	created_at BIGINT NOT NULL,
	author TEXT NOT NULL,
	comment TEXT NOT NULL,
	mac BLOB NOT NULL,
	PRIMARY KEY (entry_id, number),
	FOREIGN KEY(entry_id) REFERENCES entries (id),
	FOREIGN KEY(kek_id) REFERENCES keks (id)
);

CREATE TABLE changes (
	sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	deployment TEXT NOT NULL,
	team TEXT NOT NULL,
	kind TEXT NOT NULL,
	name TEXT NOT NULL,
	version INTEGER
);

CREATE TABLE registry (
	deployment TEXT NOT NULL,
	kind TEXT NOT NULL,
	id TEXT NOT NULL,
	body BLOB NOT NULL,
	revision INTEGER NOT NULL,
	mac BLOB NOT NULL,
	PRIMARY KEY (deployment, kind, id)
);

CREATE INDEX registry_changed ON registry (deployment, revision);

CREATE TABLE registry_heads (
	deployment TEXT NOT NULL,
	revision INTEGER NOT NULL,
	row_count INTEGER NOT NULL,
	digest BLOB NOT NULL,
	mac BLOB NOT NULL,
	PRIMARY KEY (deployment)
);

CREATE TABLE kek_uses (
	kek_id BLOB NOT NULL,
	wraps BIGINT NOT NULL,
	PRIMARY KEY (kek_id),
	FOREIGN KEY(kek_id) REFERENCES keks (id)
);

CREATE TABLE key_jobs (
	deployment TEXT NOT NULL,
	state TEXT NOT NULL,
	started_at BIGINT NOT NULL,
	started_by TEXT NOT NULL,
	total BIGINT NOT NULL,
	done BIGINT NOT NULL,
	damaged BIGINT NOT NULL,
	reached BLOB NOT NULL,
	holder BLOB NOT NULL,
	beat_at BIGINT NOT NULL,
	finished_at BIGINT,
	PRIMARY KEY (deployment)
);

CREATE INDEX versions_by_key ON versions (kek_id, entry_id);

INSERT INTO schema_revision (version_num) VALUES ('0003');

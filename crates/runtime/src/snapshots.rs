//! Snapshots on local disk: a task's committed state as immutable files, one per key range and change, and a tag that
//! names them. A newer snapshot writes only the ranges that changed and then replaces the tag in one rename. A
//! snapshot is an optimisation: one that is damaged or of another log is set aside, and the changelog alone is read.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use ws_stream::log::TopicPartition;
use ws_stream::task::Snapshot;

const FORMAT: u32 = 1;

/// What a snapshot belongs to and which files make it up.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Tag {
    format: u32,
    /// Identity of the log.
    pub cluster_id: String,
    /// Id of the changelog topic, hexadecimal.
    pub topic_id: String,
    /// Epoch whose state it is.
    pub epoch: u64,
    /// Reading the changelog from here and skipping deltas up to `epoch` completes the snapshot.
    pub from_offset: i64,
    /// When it was taken, UTC milliseconds.
    pub taken_at_ms: i64,
    positions: Vec<(String, u32, i64)>,
    /// Key range → file name and CRC-32.
    chunks: BTreeMap<u8, (String, u32)>,
}

impl Tag {
    /// Input positions of the epoch.
    pub fn positions(&self) -> Vec<(TopicPartition, i64)> {
        self.positions.iter().map(|(t, p, o)| (TopicPartition::new(t.as_str(), *p), *o)).collect()
    }
}

/// A snapshot: its tag and its records.
pub type Loaded = (Tag, Vec<Vec<u8>>);

/// The snapshot folder of one task.
pub struct TaskSnapshots {
    folder: PathBuf,
}

impl TaskSnapshots {
    /// The folder of task `task` of a topology below `root`; made when missing.
    pub fn open(root: &Path, topology: &str, task: u32) -> io::Result<TaskSnapshots> {
        let folder = root.join(topology).join(format!("task-{task:04}"));
        fs::create_dir_all(&folder)?;
        Ok(TaskSnapshots { folder })
    }

    /// The newest snapshot's tag and records, if there is a whole one for this log.
    pub fn load(&self, cluster_id: &str, topic_id: &str) -> Result<Option<Loaded>, String> {
        let path = self.folder.join("tag.json");
        let text = match fs::read_to_string(&path) {
            Ok(t) => t,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(format!("{}: {e}", path.display())),
        };
        let tag: Tag = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        if tag.format != FORMAT {
            return Err(format!("{}: format {} instead of {FORMAT}", path.display(), tag.format));
        }
        if tag.cluster_id != cluster_id || tag.topic_id != topic_id {
            return Err(format!("{}: of log {} and changelog {}, not {cluster_id} and {topic_id}", path.display(), tag.cluster_id, tag.topic_id));
        }
        let mut records = Vec::new();
        for (name, crc) in tag.chunks.values() {
            let file = self.folder.join(name);
            let bytes = fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            if crc32fast::hash(&bytes) != *crc {
                return Err(format!("{}: checksum does not match", file.display()));
            }
            let mut rest = &bytes[..];
            while let Some((n, r)) = rest.split_first_chunk::<4>() {
                let (record, r) = r.split_at_checked(u32::from_le_bytes(*n) as usize).ok_or_else(|| format!("{}: cut short", file.display()))?;
                records.push(record.to_vec());
                rest = r;
            }
        }
        Ok(Some((tag, records)))
    }

    /// Writes a snapshot: new files, then the tag, then files no longer named go.
    #[allow(clippy::too_many_arguments)]
    pub fn save(
        &self,
        snapshot: &Snapshot,
        from_offset: i64,
        positions: &[(TopicPartition, i64)],
        cluster_id: &str,
        topic_id: &str,
        now_ms: i64,
    ) -> io::Result<()> {
        let old = self.load_tag().filter(|t| t.cluster_id == cluster_id && t.topic_id == topic_id);
        let mut chunks = old.map(|t| t.chunks).unwrap_or_default();
        for (chunk, records) in &snapshot.chunks {
            let name = format!("chunk-{chunk:02}-{}.rows", snapshot.epoch);
            let mut bytes = Vec::new();
            for r in records {
                bytes.extend_from_slice(&(r.len() as u32).to_le_bytes());
                bytes.extend_from_slice(r);
            }
            let mut f = File::create(self.folder.join(&name))?;
            f.write_all(&bytes)?;
            f.sync_data()?;
            chunks.insert(*chunk, (name, crc32fast::hash(&bytes)));
        }
        let tag = Tag {
            format: FORMAT,
            cluster_id: cluster_id.into(),
            topic_id: topic_id.into(),
            epoch: snapshot.epoch,
            from_offset,
            taken_at_ms: now_ms,
            positions: positions.iter().map(|(tp, o)| (tp.topic.to_string(), tp.partition, *o)).collect(),
            chunks,
        };
        let tmp = self.folder.join("tag.json.new");
        let mut f = File::create(&tmp)?;
        f.write_all(&serde_json::to_vec_pretty(&tag)?)?;
        f.sync_data()?;
        fs::rename(&tmp, self.folder.join("tag.json"))?;
        File::open(&self.folder)?.sync_all()?;
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".rows") && !tag.chunks.values().any(|(n, _)| *n == name) {
                fs::remove_file(self.folder.join(name))?;
            }
        }
        Ok(())
    }

    /// Sets a useless snapshot aside, so that the next one is written whole.
    pub fn set_aside(&self) -> io::Result<()> {
        let tag = self.folder.join("tag.json");
        if tag.exists() { fs::rename(&tag, self.folder.join("tag.json.refused")) } else { Ok(()) }
    }

    fn load_tag(&self) -> Option<Tag> {
        serde_json::from_str(&fs::read_to_string(self.folder.join("tag.json")).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn snapshot(epoch: u64, chunks: &[(u8, &str)]) -> Snapshot {
        Snapshot { epoch, chunks: chunks.iter().map(|(c, s)| (*c, vec![s.as_bytes().to_vec()])).collect() }
    }

    #[test]
    fn a_second_snapshot_writes_only_what_changed_and_reads_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let s = TaskSnapshots::open(dir.path(), "t", 3).unwrap();
        assert_eq!(s.load("c", "id").unwrap(), None);
        let at = vec![(TopicPartition::new("in", 3), 9)];
        s.save(&snapshot(5, &[(0, "a"), (1, "b")]), 10, &at, "c", "id", 1).unwrap();
        s.save(&snapshot(8, &[(1, "B")]), 20, &at, "c", "id", 2).unwrap();
        let (tag, records) = s.load("c", "id").unwrap().unwrap();
        assert_eq!((tag.epoch, tag.from_offset, tag.positions()), (8, 20, at));
        assert_eq!(records, [b"a".to_vec(), b"B".to_vec()]);
        let files = fs::read_dir(dir.path().join("t/task-0003")).unwrap().count();
        assert_eq!(files, 3, "two chunk files and the tag");
    }

    #[test]
    fn damaged_and_foreign_snapshots_are_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let s = TaskSnapshots::open(dir.path(), "t", 0).unwrap();
        s.save(&snapshot(5, &[(0, "a")]), 10, &[], "c", "id", 1).unwrap();
        assert!(s.load("c", "other").unwrap_err().contains("not c and other"));
        fs::write(dir.path().join("t/task-0000/chunk-00-5.rows"), b"\x01\0\0\0b").unwrap();
        assert!(s.load("c", "id").unwrap_err().contains("checksum"));
        s.set_aside().unwrap();
        assert_eq!(s.load("c", "id").unwrap(), None);
    }
}

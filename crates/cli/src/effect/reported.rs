//! What sensors reported last, container by container: all that threshold dispatch looks at. Readings that no container can
//! have are left out, and a container that a truck reported as emptied after its last reading counts as empty.

use std::collections::BTreeMap;
use ws_city::Event;

/// Levels as last reported.
#[derive(Default)]
pub struct Reported {
    container_of: BTreeMap<String, Option<String>>,
    /// By container: when, level.
    levels: BTreeMap<String, (i64, f64)>,
    emptied_ms: BTreeMap<String, i64>,
}

impl Reported {
    /// Takes events in the order of their arrival.
    pub fn hear(&mut self, events: &[Event]) {
        for event in events {
            match event.topic {
                "ref.device" => {
                    let container = event.value["container_id"].as_str().map(str::to_owned);
                    self.container_of.insert(event.key.clone(), container);
                }
                "bin.telemetry" => self.read(event),
                "collection.event" => {
                    if let (Some(container), Some(at_ms)) = (event.value["container_id"].as_str(), event.value["emptied_at"].as_i64()) {
                        let known = self.emptied_ms.entry(container.to_owned()).or_insert(at_ms);
                        *known = at_ms.max(*known);
                    }
                }
                _ => {}
            }
        }
    }

    fn read(&mut self, event: &Event) {
        let Some(Some(container)) = self.container_of.get(&event.key) else { return };
        let (Some(at_ms), Some(level)) = (event.value["observed_at"].as_i64(), event.value["filling_level"].as_f64()) else { return };
        // A clock that is ahead says nothing of when.
        let at_ms = at_ms.min(event.received_at_ms);
        if (0.0..=1.2).contains(&level) {
            let known = self.levels.entry(container.clone()).or_insert((i64::MIN, level));
            if at_ms >= known.0 {
                *known = (at_ms, level);
            }
        }
    }

    /// Level of a container as far as reported.
    pub fn level(&self, container_id: &str) -> Option<f64> {
        let (at_ms, level) = self.levels.get(container_id)?;
        let emptied = self.emptied_ms.get(container_id).is_some_and(|emptied_ms| emptied_ms > at_ms);
        Some(if emptied { 0.0 } else { *level })
    }

    /// Container that a device sits on, as far as registered.
    pub fn container_of(&self, device_id: &str) -> Option<&str> {
        self.container_of.get(device_id)?.as_deref()
    }

    /// Its last reported level if that was before a time.
    pub fn level_before(&self, container_id: &str, before_ms: i64) -> Option<f64> {
        self.levels.get(container_id).filter(|(at_ms, _)| *at_ms < before_ms).map(|(_, level)| *level)
    }

    /// When a truck last reported to have emptied a container, UTC ms.
    pub fn emptied_ms(&self, container_id: &str) -> Option<i64> {
        self.emptied_ms.get(container_id).copied()
    }
}

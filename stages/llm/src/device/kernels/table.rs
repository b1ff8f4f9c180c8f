use burn_cubecl::{
    CubeDevice, CubeTuneId,
    cubecl::{
        environment::Namespace,
        tune::{PersistentCacheKey, PersistentCacheValue},
    },
};
use cubecl_environment::{
    bytes::Bytes,
    persistence::{MemoryStorage, Origin, open},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use wgpu::AdapterInfo;

use super::choices::{Choice, Choices};

/// All that the speed of kernels depends on: where it is the same, so are they.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Provenance {
    pub(super) refit: String,
    /// The GPU runtime, its version and the language its kernels are compiled to.
    pub(super) runtime: String,
    pub(super) adapter: String,
    pub(super) vendor: u32,
    pub(super) device: u32,
    pub(super) driver: String,
    pub(super) driver_version: String,
}

/// What the runtime remembers in memory about the kernels of a device.
#[derive(Debug, Clone)]
pub(in crate::device) struct Table {
    pub(super) of: Provenance,
    /// What the runtime's names for its parts begin with.
    pub(super) prefix: String,
}

impl Table {
    pub(in crate::device) fn new(device: &CubeDevice, adapter: &AdapterInfo) -> Self {
        let client = device.client();
        let named = |device: &str| Namespace::scoped("autotune", device).to_string();
        Self {
            of: Provenance {
                refit: env!("CARGO_PKG_VERSION").into(),
                runtime: named(client.name()),
                adapter: adapter.name.clone(),
                vendor: adapter.vendor,
                device: adapter.device,
                driver: adapter.driver.clone(),
                driver_version: adapter.driver_info.clone(),
            },
            prefix: format!("{}/", named(&CubeTuneId::new(&client, device).to_string())),
        }
    }

    /// Adds choices. The runtime may replace them by its own.
    pub(super) fn fill(&self, known: &Choices) {
        for (kind, choices) in known.iter() {
            let part = open(&format!("{}{kind}", self.prefix));
            for Choice { key, checksum, fastest } in choices {
                let key = PersistentCacheKey { key: key.clone(), checksum: checksum.clone() };
                // What was measured is of no use any more.
                let value =
                    PersistentCacheValue { fastest_index: *fastest, results: Vec::new(), bounds: None, limit: None };
                part.insert(&encode(&key), Bytes::from_bytes_vec(encode(&value)), Origin::Imported);
            }
        }
    }

    /// All choices that are there.
    pub(super) fn choices(&self) -> Choices {
        let mut choices = Choices::default();
        for part in MemoryStorage::namespaces() {
            let Some(kind) = part.namespace.strip_prefix(&self.prefix) else { continue };
            open(&part.namespace).scan(&mut |key, value| {
                let (key, value) = (decode::<PersistentCacheKey<Value>>(key), decode::<PersistentCacheValue>(value));
                if let (Some(PersistentCacheKey { key, checksum }), Some(value)) = (key, value) {
                    choices.push(kind, Choice { key, checksum, fastest: value.fastest_index });
                }
            });
        }
        choices
    }
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("memory takes all that is written");
    bytes
}

/// The runtime's own encoding; what it cannot read either is as good as not there.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    ciborium::from_reader(bytes).ok()
}

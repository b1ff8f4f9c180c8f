use std::{path::PathBuf, sync::Once};

use burn_cubecl::cubecl::{
    config::{CubeClRuntimeConfig, RuntimeConfig, cache::CacheConfig, environment::EnvironmentConfig},
    records::{RecordLevel, RecordsConfig},
};

/// Lets the GPU runtime remember in memory only: it makes no folder, and follows no file of settings that happens to lie above
/// the working folder. Its environment variables, which help to find a defect of it, count as ever.
///
/// To be called before it is asked anything: its settings are read once.
pub(super) fn keep_to_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut config = CubeClRuntimeConfig::default().override_from_env();
        config.autotune.disable_cache = false;
        config.environment = EnvironmentConfig {
            // Before it finds that no database opens, it makes the folder around it: the one there is.
            path: CacheConfig::Directory(PathBuf::new()),
            records: RecordsConfig { level: RecordLevel::Off, ..RecordsConfig::default() },
            ..EnvironmentConfig::default()
        };
        CubeClRuntimeConfig::try_set(config);
    });
}

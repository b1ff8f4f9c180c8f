//! Content-addressed store of refit: objects by blake3, manifests, runs, a rebuildable index.

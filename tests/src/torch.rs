use std::{path::Path, process::Command};

/// Seconds of a small product, at best, in float32 and in bfloat16.
const TIMES: &str = "\
import time, torch
for dtype in torch.float32, torch.bfloat16:
    x, w = torch.ones(64, 576, dtype=dtype), torch.ones(576, 576, dtype=dtype)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        x @ w
        times.append(time.perf_counter() - start)
    print(min(times))
";

/// Whether torch's products in bfloat16 are worth waiting for: where no instruction takes bf16 they may be a hundred times slower than those in
/// float32.
pub fn torch_multiplies_bf16(python: &Path) -> bool {
    let output = Command::new(python).args(["-c", TIMES]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let times: Vec<f64> = String::from_utf8_lossy(&output.stdout).lines().map(|line| line.parse().unwrap()).collect();
    times[1] < 10.0 * times[0]
}

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| refit_fuzz::pipeline_file(bytes));

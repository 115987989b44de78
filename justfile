# What people run daily. `just --list`

# The fast tests: machines, protocol, and pools of scripted workers.
quick:
    cargo test -p ostler-protocol --lib
    cargo test -p ostler --lib --test it

# One test of real processes, by a part of its name.
process name:
    cargo test -p ostler --test process -- {{name}}

# What CI checks beside tests.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test -p ostler --test it tidy

# Everything that a change must pass.
ci:
    .ci/run

# What one request costs, beside the limit of the machine.
bench:
    cargo bench --bench round_trip

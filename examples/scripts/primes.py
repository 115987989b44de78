"""Finds the primes below a limit: `ostler run examples/scripts/primes.py -- 100000`."""

import sys

limit = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
sieve = bytearray([1]) * limit
sieve[:2] = bytes(min(2, limit))
for number in range(2, int(limit**0.5) + 1):
    if sieve[number]:
        sieve[number * number :: number] = bytes(len(range(number * number, limit, number)))
primes = [number for number in range(limit) if sieve[number]]
print(f"{len(primes)} primes below {limit}; the last are {', '.join(map(str, primes[-5:]))}")

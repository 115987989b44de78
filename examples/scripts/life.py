"""Plays a few generations of Conway's game of life, one line each."""

import time

WIDTH, HEIGHT = 32, 5
alive = {(x, 2) for x in range(4, 28)}
for generation in range(8):
    rows = ["".join("#" if (x, y) in alive else "." for x in range(WIDTH)) for y in range(HEIGHT)]
    print(f"generation {generation}: {len(alive):2} cells, middle row {rows[HEIGHT // 2]}")
    near = {}
    for x, y in alive:
        for dx, dy in ((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b):
            cell = ((x + dx) % WIDTH, (y + dy) % HEIGHT)
            near[cell] = near.get(cell, 0) + 1
    alive = {cell for cell, count in near.items() if count == 3 or (count == 2 and cell in alive)}
    time.sleep(0.15)

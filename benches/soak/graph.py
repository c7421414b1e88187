"""Draws what was sampled: panels one above the other over the same minutes, as SVG."""

WIDTH, PANEL, LEFT, RIGHT, GAP = 860, 120, 64, 150, 34
COLOURS = ("#1b6ca8", "#c8553d", "#3a8f5a", "#8a5fb0")


def draw(title, samples, panels, marks):
    """`samples` are dicts with `at` in seconds; `panels` are (heading, [(name, key)]); `marks` are (seconds, word)."""
    height = 40 + len(panels) * (PANEL + GAP) + 20
    end = max(samples[-1]["at"], 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{title}</text>',
    ]
    for number, (heading, lines) in enumerate(panels):
        top = 50 + number * (PANEL + GAP)
        parts += panel(heading, lines, samples, end, top)
        for at, word in marks:
            x = across(at, end)
            parts.append(f'<path d="M{x:.1f} {top}v{PANEL}" stroke="#999" stroke-dasharray="3 3"/>')
            if number == 0:
                parts.append(f'<text x="{x + 3:.1f}" y="{top + 11}" fill="#666">{word}</text>')
    step = next(step for step in (1, 2, 5, 10, 20, 60, 120, 10**6) if end / 60 / step <= 12)
    for minute in range(0, int(end / 60) + 1, step):
        parts.append(f'<text x="{across(minute * 60, end):.1f}" y="{height - 12}" text-anchor="middle">{minute} min</text>')
    return "\n".join([*parts, "</svg>", ""])


def panel(heading, lines, samples, end, top):
    most = max(sample[key] for sample in samples for _, key in lines) or 1
    limit = next(step * 10**power for power in range(10) for step in (1, 2, 3, 5, 7) if step * 10**power >= most)
    parts = [
        f'<text x="{LEFT}" y="{top - 5}" font-weight="bold">{heading}</text>',
        f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - RIGHT}" height="{PANEL}" fill="none" stroke="#ccc"/>',
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{limit:g}</text>',
        f'<text x="{LEFT - 6}" y="{top + PANEL}" text-anchor="end">0</text>',
    ]
    # As many points as there are pixels to see them.
    every = max(1, len(samples) // (WIDTH - LEFT - RIGHT))
    for number, (name, key) in enumerate(lines):
        points = (
            f"{across(sample['at'], end):.1f},{top + PANEL * (1 - sample[key] / limit):.1f}" for sample in samples[::every]
        )
        colour = COLOURS[number]
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.2"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{top + 14 + number * 16}" fill="{colour}">{name}</text>')
    return parts


def across(at, end):
    return LEFT + (WIDTH - LEFT - RIGHT) * at / end

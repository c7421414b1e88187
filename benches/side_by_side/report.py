"""The figures as tables, in a form that reads well in a terminal and is Markdown at the same time."""

# Every other side is compared with this one.
YARDSTICK = "PgBouncer"


def heading(about):
    versions = ", ".join(
        f"{name} {version}"
        for name, version in about.items()
        if isinstance(version, str) and version and name not in ("date", "kernel")
    )
    return (
        f"{about['date']}: {about['cpus']} CPUs, {about['nodes']} nodes, scale {about['scale']}, "
        f"{about['rounds']} rounds of {about['seconds']} s, medians; {versions}\n"
    )


def table(measure, results):
    """Rows are sides; behind the first figure and the processor time stands the ratio to PgBouncer's."""
    titles = [measure.title]
    for column in measure.columns:
        titles.append(column)
        if compared(column):
            titles.append("ratio")
    lines, notes = [titles], []
    base = results.get(YARDSTICK)
    for name, figures in results.items():
        if isinstance(figures, str):
            notes.append(f"{name}: {figures}.")
            continue
        line = [name]
        for column in measure.columns:
            value = figures[column]
            nothing = name == "direct" and ("CPU" in column or "user" in column or "system" in column)
            line.append("-" if nothing else digits(value))
            if compared(column):
                known = isinstance(base, dict) and base[column] > 0 and not nothing
                line.append(f"{value / base[column]:.2f}" if known else "-")
        lines.append(line)
    return aligned(lines) + "".join(f"\n{note}" for note in notes) + "\n"


def compared(column):
    return column in ("tps", "p99 ms", "MB/s", "KiB/client") or column.startswith("CPU")


def digits(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def aligned(lines):
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    rows = [
        "| "
        + " | ".join([line[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])])
        + " |"
        for line in lines
    ]
    rule = "|" + "|".join(["-" * (widths[0] + 2)] + ["-" * (width + 1) + ":" for width in widths[1:]]) + "|"
    return "\n".join([rows[0], rule, *rows[1:]])

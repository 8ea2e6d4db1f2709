/** Plots as SVG text, as much as docs/performance.md needs. Pure. */

export interface Point {
  x: number;
  y: number;
  low: number;
  high: number;
}

export interface Series {
  name: string;
  points: Point[];
}

export interface Bar {
  name: string;
  parts: { name: string; value: number }[];
}

export interface BarGroup {
  name: string;
  bars: Bar[];
}

const palette = [
  ...['#3b6fb6', '#d1752c', '#4d9a57', '#b5495b', '#7d62a8', '#8c6d46', '#c96fa5'],
  ...['#6d6d6d', '#a8a43a', '#3aa5a8', '#1f3d66', '#9a9a9a', '#5e2331'],
];
const colour = (index: number) => palette[index % palette.length] ?? '#000';
const escapeText = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const fixed = (value: number) => Number(value.toFixed(1));

function text(x: number, y: number, content: string, more = ''): string {
  return `<text x="${fixed(x)}" y="${fixed(y)}" ${more}>${escapeText(content)}</text>`;
}

function svg(width: number, height: number, title: string, content: string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="12" fill="#222">`,
    `<title>${escapeText(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    text(16, 24, title, 'font-size="15" font-weight="bold"'),
    ...content,
    '</svg>',
    '',
  ].join('\n');
}

/** Seconds or milliseconds, whichever reads better. */
export function duration(milliseconds: number): string {
  if (milliseconds < 995) return `${Math.round(milliseconds)} ms`;
  if (milliseconds >= 99_950) return `${Math.round(milliseconds / 1000)} s`;
  return milliseconds < 9950 ? `${(milliseconds / 1000).toFixed(2)} s` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** Both axes logarithmic; each point has the range of its samples as a line. */
export function logPlot(options: { title: string; ticks: { at: number; label: string }[]; series: Series[] }): string {
  const { title, ticks, series } = options;
  const [width, height, left, right, top, bottom] = [720, 420, 70, 130, 44, 44];
  const points = series.flatMap((each) => each.points);
  const xs = ticks.map(({ at }) => Math.log2(at));
  const [firstX, lastX] = [Math.min(...xs), Math.max(...xs)];
  const firstY = Math.floor(Math.log10(Math.min(...points.map(({ low }) => low))));
  const lastY = Math.ceil(Math.log10(Math.max(...points.map(({ high }) => high))));
  const x = (value: number) => left + ((Math.log2(value) - firstX) / Math.max(1, lastX - firstX)) * (width - left - right);
  const y = (value: number) => height - bottom - ((Math.log10(value) - firstY) / Math.max(1, lastY - firstY)) * (height - top - bottom);
  const content: string[] = [];
  for (let exponent = firstY; exponent <= lastY; exponent++) {
    for (const factor of exponent === lastY ? [1] : [1, 2, 5]) {
      const value = factor * 10 ** exponent;
      content.push(`<line x1="${left}" x2="${width - right}" y1="${fixed(y(value))}" y2="${fixed(y(value))}" stroke="#ddd"/>`);
      content.push(text(left - 8, y(value) + 4, duration(value), 'text-anchor="end"'));
    }
  }
  for (const { at, label } of ticks) content.push(text(x(at), height - bottom + 20, label, 'text-anchor="middle"'));
  const ends = spread(
    series.map(({ points: own }) => y(own.at(-1)?.y ?? 1)),
    15,
  );
  for (const [index, { name, points: own }] of series.entries()) {
    const stroke = `stroke="${colour(index)}" stroke-width="2"`;
    content.push(`<polyline fill="none" ${stroke} points="${own.map((point) => `${fixed(x(point.x))},${fixed(y(point.y))}`).join(' ')}"/>`);
    for (const point of own) {
      content.push(
        `<line x1="${fixed(x(point.x))}" x2="${fixed(x(point.x))}" y1="${fixed(y(point.low))}" y2="${fixed(y(point.high))}" ${stroke}/>`,
      );
      content.push(`<circle cx="${fixed(x(point.x))}" cy="${fixed(y(point.y))}" r="3.5" fill="${colour(index)}"/>`);
    }
    content.push(text(x(own.at(-1)?.x ?? 1) + 10, (ends[index] ?? 0) + 4, name, `fill="${colour(index)}"`));
  }
  return svg(width, height, title, content);
}

/** Moves labels apart that would cover each other; their order stays. */
export function spread(positions: number[], distance: number): number[] {
  const moved = [...positions];
  const order = positions.map((_, index) => index).sort((left, right) => (positions[left] ?? 0) - (positions[right] ?? 0));
  for (const [place, index] of order.entries()) {
    const before = place > 0 ? moved[order[place - 1] ?? 0] : undefined;
    if (before !== undefined) moved[index] = Math.max(moved[index] ?? 0, before + distance);
  }
  return moved;
}

/** Bars of consecutive parts; each group has a scale of its own, so that small pods can be read beside large ones. */
export function stackedBars(options: { title: string; groups: BarGroup[] }): string {
  const { title, groups } = options;
  const [width, left, right, barHeight, top] = [820, 150, 80, 20, 44];
  const names = [...new Set(groups.flatMap(({ bars }) => bars.flatMap(({ parts }) => parts.map(({ name }) => name))))];
  const content: string[] = [];
  let at = top;
  for (const { name, bars } of groups) {
    const longest = Math.max(1, ...bars.map(sumOf));
    content.push(text(16, at + 14, name, 'font-weight="bold"'));
    for (const bar of bars) {
      let reached = left;
      for (const part of bar.parts) {
        const length = (part.value / longest) * (width - left - right);
        content.push(
          `<rect x="${fixed(reached)}" y="${at}" width="${fixed(length)}" height="${barHeight}" fill="${colour(names.indexOf(part.name))}"><title>${escapeText(part.name)} ${duration(part.value)}</title></rect>`,
        );
        if (length > 46)
          content.push(text(reached + length / 2, at + 14, duration(part.value), 'text-anchor="middle" fill="#fff" font-size="11"'));
        reached += length;
      }
      content.push(text(left - 8, at + 14, bar.name, 'text-anchor="end"'));
      content.push(text(reached + 6, at + 14, duration(sumOf(bar))));
      at += barHeight + 4;
    }
    at += 14;
  }
  const columns = 5;
  for (const [index, name] of names.entries()) {
    const [column, row] = [index % columns, Math.floor(index / columns)];
    content.push(`<rect x="${16 + column * 155}" y="${at + row * 20}" width="12" height="12" fill="${colour(index)}"/>`);
    content.push(text(34 + column * 155, at + row * 20 + 11, name));
  }
  return svg(width, at + Math.ceil(names.length / columns) * 20 + 12, title, content);
}

const sumOf = ({ parts }: Bar) => parts.reduce((sum, { value }) => sum + value, 0);

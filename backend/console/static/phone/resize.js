// Scales pixels to a square as the server's predictor does: Pillow's bicubic filter, bit for bit, after averaging
// whole pixels of images much larger than needed (Image.resize with reducing_gap=2; Pillow's Resample.c, Reduce.c).

const PRECISION = 22; // bits of a coefficient behind the point
const GAP = 2;

// RGBA bytes (width x height) -> RGB bytes (side x side).
export function square(rgba, width, height, side) {
  let image = { data: rgba, width, height, channels: 4 };
  if (width === side && height === side) return withoutAlpha(image).data;
  const across = Math.trunc(width / side / GAP) || 1;
  const down = Math.trunc(height / side / GAP) || 1;
  if (across > 1 || down > 1) image = reduced(image, across, down);
  // The averaged image may end in a part of a pixel.
  const columns = coefficients(image.width, width / across, side);
  const rows = coefficients(image.height, height / down, side);
  const [lessHigh, lessWide] = [image.height - side, image.width - side];
  if (lessHigh > 0 && lessHigh > 2 * lessWide) return horizontal(vertical(withoutAlpha(image), rows), columns).data;
  return vertical(horizontal(image, columns), rows).data;
}

function withoutAlpha(image) {
  const { data, width, height, channels } = image;
  if (channels === 3) return image;
  const out = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < out.length; from += 4, to += 3) {
    out[to] = data[from];
    out[to + 1] = data[from + 1];
    out[to + 2] = data[from + 2];
  }
  return { data: out, width, height, channels: 3 };
}

function reduced({ data, width, height, channels }, across, down) {
  const [outWidth, outHeight] = [Math.ceil(width / across), Math.ceil(height / down)];
  const out = new Uint8Array(outWidth * outHeight * 3);
  for (let y = 0, to = 0; y < outHeight; y++) {
    const [top, bottom] = [y * down, Math.min((y + 1) * down, height)];
    for (let x = 0; x < outWidth; x++, to += 3) {
      const [left, right] = [x * across, Math.min((x + 1) * across, width)];
      const count = (bottom - top) * (right - left);
      let red = count >> 1, green = red, blue = red; // half a unit: rounded, not cut off
      for (let row = top; row < bottom; row++) {
        for (let from = (row * width + left) * channels, end = from + (right - left) * channels; from < end; from += channels) {
          red += data[from];
          green += data[from + 1];
          blue += data[from + 2];
        }
      }
      const share = Math.trunc(Math.fround(2 ** 24 / count));
      out[to] = (red * share) / 2 ** 24;
      out[to + 1] = (green * share) / 2 ** 24;
      out[to + 2] = (blue * share) / 2 ** 24;
    }
  }
  return { data: out, width: outWidth, height: outHeight, channels: 3 };
}

function bicubic(distance) {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

// For each of `side` places: the first pixel it is made of, how many, and their weights as whole numbers.
function coefficients(pixels, extent, side) {
  const scale = Math.fround(extent) / side;
  const wide = Math.max(scale, 1);
  const support = 2 * wide;
  const most = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(side), counts = new Int32Array(side), weights = new Int32Array(side * most);
  for (let place = 0; place < side; place++) {
    const center = (place + 0.5) * scale;
    const start = Math.max(Math.trunc(center - support + 0.5), 0);
    const count = Math.min(Math.trunc(center + support + 0.5), pixels) - start;
    const shares = Array.from({ length: count }, (_, x) => bicubic((x + start - center + 0.5) * (1 / wide)));
    const total = shares.reduce((sum, share) => sum + share, 0);
    shares.forEach((share, x) => {
      const weight = (total ? share / total : share) * (1 << PRECISION);
      weights[place * most + x] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5);
    });
    first[place] = start;
    counts[place] = count;
  }
  return { side, most, first, counts, weights };
}

const HALF = 1 << (PRECISION - 1);

function clipped(sum) {
  const value = sum >> PRECISION;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

function horizontal({ data, width, height, channels }, { side, most, first, counts, weights }) {
  const out = new Uint8Array(side * height * 3);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < side; x++, to += 3) {
      let from = (y * width + first[x]) * channels;
      let red = HALF, green = HALF, blue = HALF;
      for (let at = x * most, end = at + counts[x]; at < end; at++, from += channels) {
        const weight = weights[at];
        red += data[from] * weight;
        green += data[from + 1] * weight;
        blue += data[from + 2] * weight;
      }
      out[to] = clipped(red);
      out[to + 1] = clipped(green);
      out[to + 2] = clipped(blue);
    }
  }
  return { data: out, width: side, height, channels: 3 };
}

function vertical({ data, width }, { side, most, first, counts, weights }) {
  const row = width * 3, out = new Uint8Array(side * row);
  const sums = new Int32Array(row);
  for (let y = 0; y < side; y++) {
    sums.fill(HALF);
    for (let at = y * most, end = at + counts[y], from = first[y] * row; at < end; at++, from += row) {
      const weight = weights[at];
      for (let x = 0; x < row; x++) sums[x] += data[from + x] * weight;
    }
    for (let x = 0; x < row; x++) out[y * row + x] = clipped(sums[x]);
  }
  return { data: out, width, height: side, channels: 3 };
}

// Whether to act on an answer, as the server's predictor decides (plugins/classification/trust.py, unfamiliar.py).

// `known` holds the sizes of the model's `familiar` arrays and the arrays scale, basis and rows behind each other.
export function unlike(features, known) {
  const { width, directions, images, neighbours, limit, data } = known;
  const [basis, rows] = [width, width * (1 + directions)]; // where they begin
  const projected = new Float64Array(directions);
  let squares = 0;
  for (let channel = 0; channel < width; channel++) {
    const value = features[channel] * data[channel];
    squares += value * value;
    const row = basis + channel * directions;
    for (let direction = 0; direction < directions; direction++) projected[direction] += value * data[row + direction];
  }
  const length = Math.max(Math.sqrt(squares), 1e-12);
  const similarities = Array.from({ length: images }, (_, image) => {
    let sum = 0;
    for (let direction = 0, at = rows + image * directions; direction < directions; direction++, at++) {
      sum += projected[direction] * data[at];
    }
    return sum / length;
  });
  const nearest = similarities.sort((one, other) => other - one).slice(0, neighbours);
  return 1 - nearest.reduce((sum, one) => sum + one, 0) / neighbours > limit;
}

// {label, reason} of the most likely class; null for a model that has learned no thresholds.
export function decide(probabilities, features, { labels, thresholds }, known) {
  if (!thresholds.length) return null;
  const best = probabilities.indexOf(Math.max(...probabilities));
  if (known && unlike(features, known)) return { label: null, reason: "unlike_training" };
  if (Math.fround(probabilities[best]) < Math.fround(thresholds[best])) return { label: null, reason: "not_sure" };
  return { label: labels[best], reason: "" };
}

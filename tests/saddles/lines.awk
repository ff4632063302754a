# Of a line of metrics.jsonl and lines of a spectrum: one line of numbers a group, parted by tabs.
#
#   model method seed epoch group samples balanced tail loss miss |g| lambda_max bound lambda_min bound
#   mass<-.01max mass<-.001max |g.u|/|g| drop its-length drop-along-g
#
# balanced and tail are test accuracies in percent: means over all classes, and over the five rarest.

# The number after these words, the second within the first where there are two.
function number(within, word,   text) {
  text = $0
  if (within != "") { text = substr(text, index(text, "\"" within "\":") + length(within) + 3) }
  if (word != "") { text = substr(text, index(text, "\"" word "\":") + length(word) + 3) }
  sub(/[,}\]].*/, "", text)
  return sprintf("%.7g", text)
}

# The mean loss: the loss's name may stand under the same word.
function loss() {
  if (!match($0, /"loss":[0-9]/)) return "nan"
  return sprintf("%.7g", substr($0, RSTART + 7) + 0)
}

# The share of negative mass that stands at place `at` of its list.
function mass(at,   text, parts) {
  text = substr($0, index($0, "\"negative_mass\":["))
  split(text, parts, "\"mean\":")
  sub(/[,}].*/, "", parts[at + 1])
  return sprintf("%.4g", parts[at + 1])
}

/"accuracy":/ {
  classes = $0
  sub(/.*"per_class":\[/, "", classes)
  sub(/\].*/, "", classes)
  count = split(classes, each, ",")
  balanced = tail = 0
  for (at = 1; at <= count; at++) balanced += each[at] / count
  for (at = count - 4; at <= count; at++) tail += each[at] / 5
  next
}

{
  group = $0
  sub(/.*"group":"/, "", group)
  sub(/".*/, "", group)
  OFS = "\t"
  print model, method, seed, epoch, group, number("samples"), sprintf("%.2f", balanced), sprintf("%.2f", tail), \
    loss(), number("miss"), number("gradient_norm"), \
    number("lambda_max", "value"), number("lambda_max", "bound"), \
    number("lambda_min", "value"), number("lambda_min", "bound"), mass(1), mass(2), \
    number("gradient_along_lambda_min"), number("drop", "fall"), number("drop", "length"), number("drop_gradient", "fall")
}

# Of lines of `spectrum --escape --json`: one line of numbers a group and method, parted by tabs.
#
#   model seed group fall method steps-from-w+u steps-from-w-u |G.u|/|g.u| |G|/|g|
#
# Steps are null where the limit was reached before, shares where there was nothing to compare with.

# The number after this word.
function number(text, word) {
  text = substr(text, index(text, "\"" word "\":") + length(word) + 3)
  sub(/[,}\]].*/, "", text)
  return text == "null" ? text : sprintf("%.7g", text)
}

{
  group = $0
  sub(/.*"group":"/, "", group)
  sub(/".*/, "", group)
  escape = substr($0, index($0, "\"escape\":{"))
  fall = number(escape, "fall")
  count = split(substr(escape, 1, index(escape, "\"checks\":") - 1), each, /\{"method":"/)
  for (at = 2; at <= count; at++) {
    method = each[at]
    sub(/".*/, "", method)
    steps = each[at]
    sub(/.*"steps":\[/, "", steps)
    sub(/\].*/, "", steps)
    split(steps, side, ",")
    OFS = "\t"
    print model, seed, group, fall, method, side[1], side[2], number(each[at], "amplification"), number(each[at], "growth")
  }
}

# ruff: noqa: E501 -- one program or formula a line
"""Programs at and beyond the limits: each accepted, or refused with its code, in a second or two."""

from __future__ import annotations

import pytest
from fuzz_judge import ROOT, judge

HERE = str(ROOT / "specs" / "limits.net")
SECONDS = 8.0  # of processor time on a busy machine: what takes a second or two here


def net(body: str, before: str = "") -> str:
    """A net around statements; its result is `y`."""
    return f"{before}\nnet n {{\n  input x: f32[B, 4]\n  {body}\n  return y\n}}\n"


def let(value: str) -> str:
    """A compile-time value that a net uses."""
    return net("y = x * k", f"let k = {value}")


def trained(
    loss: str = "mean(square(y - t))", body: str = "y = x -> Linear(1)", data: str = "", keys: str = "", name: str = "n"
) -> str:
    fields = data or 'train = csv("a.csv") x: f32[4] = columns("a", "b", "c", "d") t: f32[1] = columns("t")'
    return (
        net(body) + f"data d {{ {fields} }}\n"
        f"train {name} on d {{ loss = {loss} optimizer = SGD(lr=0.1) batch = 4 epochs = 1 {keys} }}\n"
    )


DEEP = "".join(f"block B{i} = B{i + 1} -> relu\n" for i in range(50)) + "block B50 = Linear(4)\n"
TOO_DEEP = "".join(f"block B{i} = B{i + 1} -> relu\n" for i in range(100)) + "block B100 = Linear(4)\n"
FNS = "".join(f"fn f{i}(x) = f{i + 1}(x) + 1\n" for i in range(300)) + "fn f300(x) = x\n"
MANY_FNS = "".join(f"fn f{i}(x) = f{i + 1}(x) + 1\n" for i in range(1000)) + "fn f1000(x) = x\n"
LETS = "".join(f"let k{i} = k{i + 1} + 1\n" for i in range(800)) + "let k800 = 1\n"
FEWER_LETS = "".join(f"let k{i} = k{i + 1} + 1\n" for i in range(200)) + "let k200 = 1\n"

PROGRAMS: dict[str, tuple[str, str | None]] = {
    # Brackets and numbers
    "100,000 brackets": ("(" * 100_000, "E0105"),
    "100,000 pairs": (let("(" * 100_000 + "1" + ")" * 100_000), "E0105"),
    "100,000 lists": (let("[" * 100_000 + "]" * 100_000), "E0105"),
    "100,000 signs": (let("-" * 100_000 + "1"), "E0105"),
    "150 pairs": (let("(" * 150 + "1" + ")" * 150), None),
    "5,000 digits": (let("1" * 5_000), "E0104"),
    "2^63": (let("9223372036854775808"), "E0104"),
    "2 ** 9999": (let("2 ** 9999"), "E0310"),
    "2 ** 63": (let("2 ** 63 * 2"), "E0310"),
    "a tower of powers": (let("9 ** 9 ** 9 ** 9"), "E0310"),
    "a small tower": (let("2.0 ** 1000 ** 1000"), "E0310"),
    "a product": (let("*".join(["999999999999999999"] * 50)), "E0310"),
    "infinity from floats": (let("1e308 * 10"), "E0310"),
    "not a number": (let("1e308 * 10 - 1e308 * 10"), "E0310"),
    "a division by zero": (let("1 / 0"), "E0303"),
    "a remainder by zero": (let("1 % 0"), "E0303"),
    "a division of floats by zero": (let("1 // 0.0"), "E0303"),
    "a negative power of zero": (let("0 ** -1"), "E0303"),
    "a root of a negative number": (let("(-8) ** 0.5"), "E0303"),
    "2^200 from shifts": (let("2 ** 62 * 2 ** 62"), "E0310"),
    # Loops
    "repeat 1_000_000_000": (net("y = x -> repeat 1_000_000_000 { relu }"), "E0310"),
    "repeat 2^62": (net("y = x -> repeat 2 ** 62 { relu }"), "E0310"),
    "repeat -1": (net("y = x -> repeat -1 { relu }"), "E0303"),
    "repeat 1.5": (net("y = x -> repeat 1.5 { relu }"), "E0302"),
    "repeat 0": (net("y = x -> repeat 0 { Linear(7) }"), None),
    "repeats that multiply": (
        net("y = x -> " + "repeat 100 { " * 6 + "relu" + " }" * 6), "E0310"
    ),
    "nested empty repeats": (net("y = x -> repeat 5_000 { repeat 0 { relu } }"), None),
    "repeats of layers that multiply": (net("y = x -> repeat 1000 { repeat 1000 { Linear(4) } }"), "E0310"),
    "for over a huge range": (net("y = x -> for i in 0..1_000_000_000_000 { relu }"), "E0310"),
    "a huge range as a value": (let("(0..1_000_000_000)[5]"), "E0310"),
    "range(10^9)": (let("len(range(1_000_000_000))"), "E0310"),
    "a backward range": (let("len([i for i in 5..0]) + 1"), None),
    "a comprehension bomb": (let("[[[[i for i in 0..1000] for j in 0..1000] for k in 0..1000] for l in 0..1000][0][0][0][0]"), "E0310"),
    "lists that double": (
        net("y = x * len(k40)", "let k0 = [1]\n" + "".join(f"let k{i + 1} = k{i} + k{i}\n" for i in range(40))), "E0310"
    ),
    "texts that double": (
        net("y = x * len(k40)", 'let k0 = "a"\n' + "".join(f"let k{i + 1} = k{i} + k{i}\n" for i in range(40))), "E0310"
    ),
    "fns that double": (
        net("y = f40(x)", "fn f0(x) = x + 1\n" + "".join(f"fn f{i + 1}(x) = f{i}(x) + f{i}(x)\n" for i in range(40))),
        "E0310",
    ),
    "blocks that double": (
        net("y = x -> B30", "block B0 = relu\n" + "".join(f"block B{i + 1} = B{i} -> B{i}\n" for i in range(30))),
        "E0310",
    ),
    "dimensions that multiply": (
        net("a = reshape(x, [B * B * B * B * B * B * B * B, 4])\ny = a"), "E0301"
    ),
    "zip of a number": (let("len(zip(3, 4))"), "E0302"),
    # Sizes
    "a dimension of 2^63": (net("y = x -> Linear(9_223_372_036_854_775_807)"), "E0104"),
    "a dimension of 10^17": (net("y = x -> Linear(100_000_000_000_000_000)"), "E0310"),
    "an input of 10^17": ("net n { input x: f32[B, 100_000_000_000_000_000] return x }", "E0310"),
    "2^48 by 2^48": ("net n { input x: f32[B, 2 ** 47, 2 ** 47] y = x -> flatten return y }", "E0301"),
    "zeros of 10^12": (net("y = x * sum(full([1_000_000, 1_000_000], 0.5))"), None),
    "halves of 2^62": (net("y = x * sum(full([2 ** 62], 0.5))"), None),
    "a negative size": (net("y = x -> Linear(-1)"), "E0303"),
    "a negative input": ("net n { input x: f32[B, -1] return x }", "E0310"),
    "a size of zero": (net("y = x -> Linear(0)"), "E0303"),
    "a size of a half": (net("y = x -> Linear(1.5)"), "E0302"),
    "a text as size": (net('y = x -> Linear("a")'), "E0302"),
    "none as size": (net("y = x -> Linear(none)"), "E0302"),
    "an empty input": ("net n { input x: f32[B, 0] y = x -> Linear(2) return y }", None),
    "a kernel larger than the input": ("net n { input x: f32[B, 1, 3, 3] y = x -> Conv(1, 5) return y }", "E0301"),
    "a window larger than the input": ("net n { input x: f32[B, 1, 3, 3] y = x -> max_pool(5) return y }", "E0301"),
    "a kernel of zero": ("net n { input x: f32[B, 1, 3, 3] y = x -> Conv(1, 0) return y }", "E0303"),
    "a negative kernel": ("net n { input x: f32[B, 1, 3, 3] y = x -> Conv(1, -3) return y }", "E0303"),
    "a stride of zero": ("net n { input x: f32[B, 1, 3, 3] y = x -> Conv(1, 3, stride=0) return y }", "E0303"),
    "groups of zero": ("net n { input x: f32[B, 1, 3, 3] y = x -> Conv(1, 3, groups=0) return y }", "E0303"),
    "a huge pad": ("net n { input x: f32[B, 1, 3, 3] y = x -> Conv(1, 3, pad=10 ** 17) return y }", "E0310"),
    "split in zero": (net("y, z = x -> split(0)"), "E0303"),
    "split in a million": (net("y = x -> split(1_000_000)"), "E0301"),
    "reshape to less": (net("y = x -> reshape([B, 3])"), "E0301"),
    "reshape to -1": (net("y = x -> reshape([B, -1])"), "E0303"),
    "a dimension divided 2,000 times": (net(f"y = x * (B{' // 100_000' * 2_000})"), "E0310"),
    "divisions that join": (net(f"y = x * (B{' // 3' * 2_000})"), None),
    "a dimension with huge factors": (net(f"y = reshape(x, [B * {' * '.join(['10 ** 17'] * 9)}, 4])"), "E0310"),
    "a dimension of many terms": ("net n { input x: f32[A, B, C, D, E] y = x * (" + "*".join(["(A + B + C + D + E)"] * 40) + ") return y }", "E0310"),
    "an index beyond": (net("y = x[:, 10]"), "E0303"),
    "an index of 10^17": (net("y = x[:, 100_000_000_000_000_000]"), "E0303"),
    "an index by text": (net('y = x["a"]'), "E0302"),
    "a slice of huge steps": (net("y = x[:, ::100_000_000_000_000_000]"), None),
    "an axis that is not there": (net("y = x -> softmax(axis=7)"), "E0303"),
    "an axis of a half": (net("y = x -> softmax(axis=0.5)"), "E0302"),
    "dropout of 2": (net("y = x -> dropout(2)"), "E0303"),
    "a number beyond f32": (net("y = x * 1e300"), "E0310"),
    # Length
    "a string of a megabyte": (net('y = x * len(k)', f'let k = "{"a" * 1_000_000}"'), None),
    "a comment of a megabyte": (net("y = x") + "#" * 1_000_000, None),
    "a name of a megabyte": (net(f"y = {'a' * 1_000_000}"), "E0201"),
    "a list of 20,000": (let(f"len([{', '.join(['1'] * 20_000)}])"), None),
    "10,000 declarations": (net("y = x * k9999", "".join(f"let k{i} = {i}\n" for i in range(10_000))), None),
    "10,000 blocks": (net("y = x -> B9999", "".join(f"block B{i} = Linear({i % 7 + 1})\n" for i in range(10_000))), None),
    "a sum of 5,000": (net(f"y = {' + '.join(['x'] * 5_000)}"), None),
    "10,000 unknown names": (net("\n".join(f"h{i} = nothing{i}" for i in range(2_000)) + "\ny = x"), "E0201"),
    "lets in a long chain": (net("y = x * k0", LETS), "E0310"),
    "lets in a shorter chain": (net("y = x * k0", FEWER_LETS), None),
    "blocks nested 50 deep": (net("y = x -> B0", DEEP), None),
    "blocks nested 100 deep": (net("y = x -> B0", TOO_DEEP), "E0209"),
    "fns nested 300 deep": (net("y = f0(x)", FNS), None),
    "fns nested 1,000 deep": (net("y = f0(x)", MANY_FNS), "E0310"),
    "2,000 branches": (net(f"y = x -> [{', '.join(['relu'] * 2_000)}] -> concat"), None),
    # Things that are not there
    "nothing": ("", None),
    "white space": (" \n\t\r\n", None),
    "a comment": ("# nothing", None),
    "an empty net": ("net n { }", "E0206"),
    "an empty data": ("data d { }", "E0602"),
    "an empty train": (net("y = x") + 'data d { train = csv("a") x: f32[4] = columns("a", "b", "c", "d") } train n on d { }', "E0205"),
    "an empty search": ("search s { }", "E0201"),
    "an empty infer": ("infer i { }", "E0206"),
    "an empty block": (net("y = x -> E", "block E { }"), "E0205"),
    "an empty fn": (net("y = f(x)", "fn f(x) { }"), "E0206"),
    "a net without inputs": ("net n { return 1 }", "E0302"),
    "a net of weights alone": ("net n { param w: f32[3] = ones return w }", None),
    "a net without result": ("net n { input x: f32[B] }", "E0206"),
    "an input without type": ("net n { input x return x }", "E0302"),
    "data without fields": (trained(data='train = csv("a.csv")'), "E0201"),
    "data without train": (trained(data='x: f32[4] = columns("a", "b", "c", "d") t: f32[1]'), "E0602"),
    "train without net": ("train n on d { loss = 1 }", "E0201"),
    "a loss of nothing": (trained(loss="0.0"), "E0301"),
    "a loss without weights": (trained(loss="mean(x)"), "E0501"),
    "a loss of none": (trained(loss="none"), "E0301"),
    "epochs of zero": (trained(keys="").replace("epochs = 1", "epochs = 0"), "E0303"),
    "a huge batch": (trained().replace("batch = 4", "batch = 999_999_999_999_999_999"), None),
    # Circles
    "train on itself": (trained() + "train n on n { loss = 1 }", "E0202"),
    "train on a net": (net("y = x") + "train n on n { loss = mean(y) optimizer = SGD(lr=1) }", "E0201"),
    "after itself": (trained(keys="after = n"), "E0201"),
    "a let of itself": (let("k + 1"), "E0209"),
    "lets of each other": (net("y = x * a", "let a = b\nlet b = c\nlet c = a"), "E0209"),
    "a fn of itself": (net("y = f(x)", "fn f(x) = f(x) + 1"), "E0209"),
    "a fn of itself by default": (net("y = f()", "fn f(x=f()) = x"), "E0209"),
    "fns of each other": (net("y = f(x)", "fn f(x) = g(x)\nfn g(x) = f(x)"), "E0209"),
    "a fn that calls itself twice": (net("y = f(x)", "fn f(x) = f(x) + f(x)"), "E0209"),
    "a block of itself": (net("y = x -> R", "block R = Linear(4) -> R"), "E0209"),
    "a block of itself, twice": (net("y = x -> R", "block R = R -> R"), "E0209"),
    "a block that doubles itself": (net("y = x -> R(1)", "block R(n) = R(n + 1) -> R(n + 2)"), "E0209"),
    "a block of itself by default": (net("y = x -> R", "block R(inner=R()) { input x return inner(x) }"), "E0209"),
    "blocks of each other": (net("y = x -> R", "block R = S\nblock S = R"), "E0209"),
    "a net of itself": (net("y = n(x)"), "E0209"),
    "a net of itself, twice": (net("z = n(x)\ny = n(z)"), "E0209"),
    "a net's own parts": (net("y = n.y"), "E0209"),
    "nets of each other": ("net a { input x: f32[B] y = b(x) return y } net b { input x: f32[B] y = a(x) return y }", "E0209"),
    "nets' parts of each other": ("net a { input x: f32[B] y = b.y return y } net b { input x: f32[B] y = a.y return y }", "E0209"),
    "an infer of itself": ("infer i { input x: f32[B] y = i(x) return y }", "E0209"),
    "a value of itself": (net("y = y + x"), "E0201"),
    "a repeat of itself": (net("f = repeat 2 { f }\ny = f(x)"), "E0209"),
    "a file that uses itself": ('use a from "limits.net"', "E0703"),
    # Names
    "a shadowed builtin": (net("relu = x * 2\ny = relu"), None),
    "a shadowed block": (net("y = x -> Linear(3)", "block Linear(n) = Conv(n, 1)"), "E0301"),
    "a let called like a function": (net("y = x * mean", "let mean = 3"), None),
    "a fn called like a builtin calls it": (net("y = relu(x)", "fn relu(x) = relu(x) + 1"), "E0209"),
    "`training` as a name": (net("training = x\ny = training"), None),
    "`B` as a name": (net("B = x\ny = B"), None),
    "`raw` in a net": (net("y = raw.x"), "E0201"),
    "`step` in a net": (net("y = x * step"), "E0201"),
    "`loss` as a name in a net": (net("loss = x * 2\ny = loss"), None),
    "a field called `loss`": (trained(data='train = csv("a") x: f32[4] = columns("a", "b", "c", "d") t: f32[1] loss: f32[]'), "E0602"),
    "a net called like its data": (net("y = x").replace("net n", "net d") + 'data d { train = csv("a.csv") }', "E0202"),
    "an input called like its net": ("net n { input n: f32[B] y = n * 2 return y }", None),
    "a unicode name": (net("ä = x\ny = ä"), "E0102"),
    "an emoji": (net("y = x \U0001f642 2"), "E0102"),
    "an arrow sign": (net("y = x → relu"), "E0102"),
    "a keyword as a name": ("net if { input x: f32[B] return x }", None),
    "a statement word as a name": (net("param = x\ny = param"), "E0108"),
    "`train` as a net": ("net train { input x: f32[B] y = x * 2 return y }", None),
    "a name of `_`": (net("_ = x\ny = _"), None),
    "a name given twice": (net("y = x\ny = x"), "E0202"),
    # Bytes
    "CRLF": (net("y = x -> relu").replace("\n", "\r\n"), None),
    "CR alone": (net("y = x -> relu").replace("\n", "\r"), None),
    "a byte order mark": ("\ufeff" + net("y = x"), "E0102"),
    "NUL": (net("y = x\0"), "E0106"),
    "a null in a string": ('use a from "\0"', "E0106"),
    "a lone surrogate": (net('y = x * len("\ud800")'), "E0106"),
    "an escape sequence": (net("y = \x1b[31m x"), "E0102"),
    "an unclosed string": (net('y = "abc'), "E0103"),
    "a folder": ('use a from "."', "E0705"),
    "a path of a megabyte": (f'use a from "{"a" * 1_000_000}"', "E0705"),
    "a device": ('use a from "/dev/null"', "E0701"),
    "an endless device": ('use a from "/dev/zero"', "E0705"),
}  # fmt: skip


@pytest.mark.parametrize("title", PROGRAMS)
def test_at_the_limits(title: str) -> None:
    text, code = PROGRAMS[title]
    verdict = judge(text, HERE, compiling=len(text) < 50_000)
    if code is None:
        assert not verdict.codes
    else:
        assert code in verdict.codes, verdict.codes or "accepted"
    assert verdict.seconds < SECONDS


def test_a_pipeline_of_20_000_stages() -> None:
    verdict = judge(net("y = x" + " -> relu" * 20_000), HERE)
    assert not verdict.codes
    assert verdict.seconds < 30


def test_a_net_of_10_000_inputs() -> None:
    inputs = "\n".join(f"  input x{i}: f32[B]" for i in range(10_000))
    verdict = judge(f"net n {{\n{inputs}\n  y = x0 + x9999\n  return y\n}}", HERE)
    assert not verdict.codes
    assert verdict.seconds < 30

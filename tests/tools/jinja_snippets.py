"""Variables, expressions and statements for make_jinja_golden.py."""

VARIABLES = {
    "text": "  Hello, World! it's a <b>test</b>\nsecond line  ",
    "unicode": "déjà ß ﬁne ŉ 世界 😀 ΟΔΟΣ İx Σ ǆ",
    "empty": "",
    "number": 42,
    "real": 2.5,
    "yes": True,
    "nothing": None,
    "list": [3, 1, 2],
    "words": ["pear", "Apple", "fig", "apple"],
    "nested": {"a": {"b": [1, {"c": "deep"}]}, "items": "shadow", "keys": 1},
    "people": [
        {"name": "Ann", "age": 31, "city": "Rome", "tags": ["x", "y"]},
        {"name": "bob", "age": 25, "city": "oslo"},
        {"name": "Cid", "age": 31, "city": "Rome", "tags": []},
    ],
    "big": 10**30,
    "bos_token": "<s>",
    "eos_token": "</s>",
}

# Each is one expression; a list of them is made into one template a piece.
EXPRESSIONS = r"""
1 + 2 * 3 - 4 / 2
7 // 2, -7 // 2, 7 % 3, -7 % 3, 7 % -3, -7.5 // 2, 7.5 % -2
2 ** 10, 2 ** -1, 2.0 ** 3, -2 ** 2, 2 ** 3 ** 2
1e3, 1e16, 1e15, 123456789012345678, 0.1 + 0.2, 1e-5, 0.0001, 1.0, -0.0, 1e100, 5e-324
1_000, 0x1F, 0b101, 0o17, 1_0.5, 1E3
1 / 0
1 // 0
1 % 0
'a' + 1
1 + 'a'
[1] + (2,)
'a' * 3, 3 * 'ab', [1, 2] * 2, (1,) * 3, 'a' * -1
'a' ~ 1 ~ none ~ true ~ 1.50 ~ [1, 'x'] ~ {'k': none}
big, big + 1, big * 2, -big
1 < 2 < 3, 1 < 3 < 2, 1 == 1.0, true == 1, 'a' < 'b', [1, 2] < [1, 3], (1, 2) == [1, 2], 'a' != 1
1 < 'a'
none < 1
not true, not not 1, not none or 1, 0 or '' or 'x', 1 and 2, '' and 1
'a' in 'cat', 'x' in 'cat', 1 in [1, 2], 'a' in {'a': 1}, 1 not in [2], 'b' not in 'abc', '' in ''
1 in 'abc'
1 in 5
undefined_name in [1]
'x' in undefined_name
undefined_name == other_undefined, undefined_name == none, undefined_name != 1
undefined_name
undefined_name.attribute
undefined_name + 1
undefined_name ~ 'x'
undefined_name | length, undefined_name | list, undefined_name | default('d'), undefined_name | upper
nested.missing, nested.missing is defined
nested.missing.deeper
nested['a']['b'][1].c, nested.a.b[0], nested.a.b.1.c, nested['a'].b[-1]['c']
nested.items() | list | length
nested['items'], nested['keys'], nested.get('a').b[0], nested.get('zz'), nested.get('zz', 9)
nested.keys() | list, nested.values() | list | length
nested.pop('a')
list.append(4)
none.foo, 5.foo
'abc'[0], 'abc'[-1], 'abc'[5], 'abc'[1:], 'abc'[:-1], 'abc'[::-1], 'abc'[::2], 'abcdef'[4:1:-1], 'abcdef'[-2:], 'abc'[10:]
'déjà世'[1], 'déjà世'[-1], 'déjà世'[1:4], 'déjà世'[::-1], unicode[5:9]
list[0], list[-1], list[9], list[1:], list[::-1], list[5:], list[-2:1], list['a']
[1, 2, 3][::0]
(1, 2, 3)[1:], (1,), (), (1, 2), range(5)[1:3], range(10)[::-3] | list, range(3), range(2, 8, 3) | list, range(5, 0, -2) | list
range(1000000)
{'a': 1, 'b': [1, 2], 3: none, none: true, (1, 2): 'x'}
{'a': 1, 'a': 2}, {1: 'x', true: 'y', 1.0: 'z'}
{[1]: 2}
['it''s', "it's", 'say "x"', "both ' and \"", 'tab\t', 'nl\n', 'back\\', 'nul\x00', 'é', '\u200b', '\xad']
'\x41\u00e9\U0001F600\101\q\'', 'a' 'b' "c"
'yes' if yes else 'no', 'x' if false, ('x' if false) is defined, 1 if nothing else 2 if yes else 3
text | trim, text | upper, text | lower, text | title, text | capitalize, text | length, text | wordcount
unicode.upper(), unicode.lower(), unicode.title(), unicode.capitalize(), unicode.swapcase()
unicode | upper, unicode | lower, unicode | title, unicode | capitalize, unicode | length
'hello wORLD it''s-me (you) [we] {they} <us>' | title, "hello wORLD it's-me o'neil 3rd".title()
'xxabcxx'.strip('x'), 'xxabcxx'.lstrip('x'), 'xyabcyx'.rstrip('xy'), '\u00a0 a \u3000'.strip(), ' \x1f a'.strip()
'a,b,,c'.split(','), 'a b  c '.split(), ' a b  c '.split(' '), 'a b c d'.split(' ', 1), 'a  b c d'.split(none, 2), ' a b  c d '.split(none, 1), ''.split(), ''.split(',')
'a b c d'.rsplit(' ', 2), ' a b  c d '.rsplit(none, 1), 'a,b,c'.rsplit(','), 'a--b--c'.rsplit('--', 1)
'a'.split('')
'a\nb\r\nc\x0bd\u2028e\n'.splitlines(), 'a\nb'.splitlines(true), ''.splitlines()
'a-b-c'.partition('-'), 'a-b-c'.rpartition('-'), 'abc'.partition('-'), 'abc'.rpartition('-')
'banana'.find('an'), 'banana'.rfind('an'), 'banana'.find('x'), 'banana'.find('an', 2), 'banana'.index('n'), 'banana'.count('an'), 'banana'.count(''), 'déjà'.find('à')
'banana'.index('x')
'abc'.startswith('a'), 'abc'.startswith(('x', 'a')), 'abc'.endswith('bc'), 'abc'.startswith('b', 1), 'abc'.startswith('')
'abc'.startswith(1)
'aXbXc'.replace('X', '-'), 'aXbXc'.replace('X', '-', 1), 'abc'.replace('', '.'), 'abc'.replace('', '.', 2), 'aaa'.replace('aa', 'b'), 'dé'.replace('', '|')
'a-b'.removeprefix('a-'), 'a-b'.removesuffix('-b'), 'a-b'.removeprefix('x')
','.join(['a', 'b']), ''.join('abc'), '-'.join({'x': 1, 'y': 2})
','.join([1])
'abc'.isalpha(), 'ab1'.isalnum(), '12'.isdigit(), '½'.isnumeric(), '²'.isdigit(), '²'.isdecimal(), ' \n'.isspace(), 'AB'.isupper(), 'ab1'.islower(), 'Ab Cd'.istitle(), ''.isalpha(), 'é'.isascii(), 'a b'.isidentifier(), 'ab_1'.isidentifier(), 'a\n'.isprintable()
'abc'.center(10, '*'), 'abc'.center(8), 'ab'.center(5), 'abc'.ljust(5) ~ '|', 'abc'.rjust(5, '.'), '-7'.zfill(5), 'é'.center(4, '-'), 'a\tb'.expandtabs(4)
'abc'.nothing
'abc'.nothing()
'%s is %d years, %.2f %5s|%-5s|%05d %x %X %o %e %g %% %r %c' % ('Ann', 31, 2.5, 'a', 'b', 42, 255, 255, 8, 12345.678, 0.00001, 'q', 'z')
'%(name)s-%(age)03d' % {'name': 'Ann', 'age': 7}, '%s' % 5, '%s' % none, '%s %s' % ('a', ['b']), '%+d % d %+.1f' % (5, 5, 2.0), '%5.1f|%-8.3e|%G' % (3.14159, 1234.5, 1e-10), '%i' % 3.9, '%s' % (none,), '%5s' % 'déj'
'%d' % 'a'
'%s %s' % 'a'
'%s' % ('a', 'b')
'no' % 1
'{} {1}'.format(1, 2)
'{} {}'.format(1, 'b'), '{1} {0} {0}'.format('a', 'b'), '{n} {p[name]} {p.age} {l[0]}'.format(n=1, p=people[0], l=list), '{:>5}|{:<5}|{:^5}|{:*^7}|{:05d}|{:,}|{:.2f}|{:x}|{:#x}|{:%}|{:e}|{:+}|{:b}|{:_}'.format('a', 'b', 'c', 'd', 42, 1234567, 3.14159, 255, 255, 0.25, 12345.6, 7, 5, 1234567), '{{}} {!r} {!s}'.format('x', 'y'), '{:{}}'.format('a', 4), '{:10.3}|'.format('abcdef'), '{:g} {:g} {}'.format(1e10, 0.1, 1e20), '{:.3}'.format(2.0), '{:s}'.format('x'), '{:d}'.format(true), '{}'.format(true), '{:>6}'.format(true)
'{'.format(1)
'{a'.format(1)
'a}'.format(1)
list | sort, list | sort(reverse=true), words | sort, words | sort(case_sensitive=true), people | sort(attribute='age') | map(attribute='name') | list, people | sort(attribute='age,name', reverse=true) | map(attribute='name') | list
[1, 'a'] | sort
list | first, list | last, list | max, list | min, list | sum, list | length, words | join('-'), list | join, [] | first, [] | max, words | max, words | min, [[1, 2], [1]] | max
people | sum(attribute='age'), people | map(attribute='name') | join(', '), people | join('/', attribute='city'), people | map(attribute='tags', default='none') | list, people | map(attribute='tags.0', default='-') | list
people | map(attribute='tags.0') | list
people | selectattr('tags') | map(attribute='name') | list, people | selectattr('age', '>', 30) | map(attribute='name') | list, people | rejectattr('tags', 'defined') | map(attribute='name') | list, people | selectattr('name', 'in', ['Ann', 'Cid']) | list | length, people | selectattr('city', 'equalto', 'Rome') | list | count
list | select('odd') | list, list | reject('odd') | list, list | select('gt', 1) | list, [0, 1, '', 'a', none] | select | list, [0, 1] | reject | list
words | map('upper') | list, words | map('replace', 'p', 'q') | list, [[1, 2], [3]] | map('sum') | list, ['1', 'x'] | map('int', 7) | list, words | map('length') | sum
list | map('nofilter') | list
list | select('notest') | list
words | unique | list, words | unique(case_sensitive=true) | list, people | unique(attribute='city') | map(attribute='name') | list
people | groupby('city') | map('list') | map('length') | list, people | groupby('age') | list | length, (people | groupby('age'))[0].grouper, (people | groupby('age') | first)[1] | length
people | groupby('tags', default='zz') | length
people | groupby('zip', default='zz') | length, people | groupby('name', case_sensitive=true) | map(attribute='grouper') | list
[1, 2, 3, 4, 5, 6, 7] | batch(3) | list, [1, 2, 3, 4] | batch(3, 'x') | list, [1, 2, 3, 4, 5, 6, 7] | slice(3) | list, [1, 2, 3, 4] | slice(3, 'x') | list
list | reverse | list, 'abc' | reverse, words | reverse | first, 'abc' | first, 'abc' | last, 'abc' | list, {'a': 1} | list, {'a': 1} | first, {'a': 1, 'b': 2} | last
list | map('string') | length
nested.a | dictsort, {'b': 1, 'A': 2, 'c': 0} | dictsort, {'b': 1, 'A': 2} | dictsort(true), {'b': 1, 'a': 2} | dictsort(by='value'), {'b': 1, 'a': 2} | dictsort(reverse=true), {'a': 1} | items | list, undefined_name | items | list
5 | items | list
'3' | int, '3.7' | int, 'x' | int, 'x' | int(5), '0x1f' | int(0, 16), '0x1f' | int(base=16), '1f' | int(base=16), ' 12 ' | int, none | int, 3.9 | int, -3.9 | int, true | int, '1e3' | int, '1_000' | int, [] | int, '0b11' | int(base=0)
'3.5' | float, 'x' | float, 'x' | float(1.5), 3 | float, 'inf' | float, '1e400' | float, none | float, ' 2 ' | float, '1_0.5' | float
2.5 | round, 3.5 | round, 2.675 | round(2), 3 | round, 3.14159 | round(3), 2.1 | round(method='ceil'), 2.9 | round(method='floor'), 42.55 | round(1, 'floor'), 1234 | round(-2), 1250 | round(-2), 1350 | round(-2), 1234.5 | round(-2), -2.5 | round, 0.5 | round, 1e20 | round
-5 | abs, -2.5 | abs, true | abs
'a' | abs
nothing | default('x'), nothing | default('x', true), '' | default('e', boolean=true), 0 | d(1), 0 | d(1, true), undefined_name | d, undefined_name | default(none)
text | replace('l', 'L'), text | replace('l', 'L', 1), 5 | replace(5, 6), 'x' | replace('', 'y')
'a\nb\n\nc' | indent, 'a\nb' | indent(2, true), 'a\n\nb' | indent(3, blank=true), 'a\nb' | indent('> '), 'a\nb\n' | indent, '' | indent(2, true)
'foo bar baz qux' | truncate(9), 'foo bar baz qux' | truncate(9, true), 'foo bar baz qux' | truncate(11), 'foo bar baz qux' | truncate(11, false, '...', 0), 'foo bar' | truncate(255)
'abc' | center(9), 'ab' | center(5), 5 | string, [1] | string, 'x' | string, 1.0 | string, none | string
'<a href="x">\'&' | e, '<b>' | escape | upper, ('<b>' | safe) ~ '<', ('<b>' | safe) + '<i>', '<i>' + ('<b>' | safe), ('<' | e) | length, '<' | forceescape, ('a' | safe) is escaped, 'a' is escaped, ('<' | safe) * 2, ['<' | safe]
'a b/c&d=é' | urlencode, {'a b': 'c&', 'd': 1} | urlencode, [('x', 1)] | urlencode
'%s-%s' | format('a', 1), '%(a)s' | format(a=3)
people | tojson, people[0] | tojson(indent=2), [] | tojson(indent=2), {} | tojson, {'é': '\u2028</script>\x7f\x01"\\/'} | tojson, 'é😀' | tojson(ensure_ascii=true), [1.0, 1e20, 1e-7, true, none, big] | tojson, {1: 2, none: 3, true: 4, 1.5: 5} | tojson, {'b': 1, 'a': [1, {'z': 1, 'y': 2}]} | tojson(sort_keys=true, indent=1), (1, 2) | tojson, [1, [2, [3]]] | tojson(indent=4), {'a': 1} | tojson(separators=(',', ':')), 'x' | tojson(indent='\t'), {'a': [1]} | tojson(indent='--'), {'a': 1} | tojson(indent=0)
undefined_name | tojson
range(3) | tojson
nested.keys() | tojson
text | attr('nothing') is defined, people[0] | attr('name') is defined, 'x' | attr('upper') is callable
1 is number, 1.5 is number, true is number, 'x' is number, true is integer, 1 is integer, 1.0 is float, true is boolean, 0 is false, false is false, true is true, 1 is true
'x' is string, none is none, list is sequence, 'x' is sequence, nested is sequence, nested is mapping, list is mapping, list is iterable, 5 is iterable, nested.keys() is sequence, range(3) is sequence, undefined_name is sequence, undefined_name is iterable, list | map('abs') is iterable, list | map('abs') is sequence
undefined_name is undefined, undefined_name is defined, list is undefined, range is callable, 'x' is callable, undefined_name is callable
4 is divisibleby 2, 4 is divisibleby(3), 3 is odd, 3 is even, 2.0 is even, 'abc' is lower, 'ABC' is upper, '' is lower, none is sameas none, 1 is sameas true, list is sameas list, 3 is in [1, 3], 3 is eq 3, 3 is ne 3, 3 is gt 2, 3 is ge 3, 3 is lt 2, 3 is le 3, 3 is greaterthan(2), 'a' is equalto 'a', 3 is not in [1]
'trim' is filter, 'nofilter' is filter, 'odd' is test, 'x' is not none, x is not defined
not 1 is odd, (not 1) is odd, 1 is odd and 2 is even, 1 is odd == true
-3 | abs, (-3) | abs, -(3 | abs), (2 ** 3) | string, 1 + ('2' | length), not '' | length
1 ~ 2 * 3, (1 + 2) ~ 3, 'a' ~ 'b' | upper, 1 ~ 2 + 0 ~ 3
1 ~ (2 + 3), 4 - 1 ~ '', 2 * 3 ~ 1
list | sum + 1, [1, 2] | map('string') | join('+') ~ '=3'
dict(a=1, b=2), dict([('x', 1)]), dict({'a': 1}, b=2), dict()
namespace(a=1).a, namespace({'b': 2}).b, namespace().missing, namespace(a=[1]).a[0]
cycler is defined, joiner is defined, range is defined
strftime_now('%Y-%m-%d %H:%M:%S %j %A %B %a %b %d %y %p %I %% %-d'), strftime_now('')
text.__class__, text.__class__ is defined
''.__class__.__mro__
''.join(list | map('string')), (list | map('string')) | first
'a' 'b', 'x' if 'y' in 'xyz' and not false else 'z'
raise_exception('stop: ' ~ 1)
5()
'x'()
[1, 2, 3].index(2), [1, 2, 2].count(2), (1, 2).index(2), (3).bit_length(), 2.0.is_integer()
[1].index(5)
loop
loop is defined
people[0] == {'name': 'Ann', 'age': 31, 'city': 'Rome', 'tags': ['x', 'y']}, people[0] == people[2], [people[0]] == [people[0]]
words[1:][0].upper()[::-1].lower() | capitalize
(1, 2) + (3,), [1] + [2] + [3], ('a', 'b') | join, [(1, 'x')] | list
nothing ~ '', nothing | string
nothing | length
text | trim | replace('\n', ' ') | upper | truncate(12, true, '~', 0)
0.1, 1.10, 100.0, 123456.789, 1e22, 1.5e300, 3.0e-10, 9007199254740993.0, 0.30000000000000004
10 / 4, 10 / 5, 2 * 3.0, 7 - 7.0, 1 - 0.9
true + true, true * 3, -true, false == 0
'a' < 'B', 'é' > 'z', '10' < '9', 'abc' >= 'abc'
words is iterable and words is not string, words is not mapping
[[1, 2], [3]] | sum(start=[])
joiner('|')(), cycler('a', 'b').next(), cycler('a', 'b').current
""".strip().split("\n")

STATEMENTS = {
    "loop_variables": """{% for x in words %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.cycle('a', 'b') }}{{ loop.changed(x[0]) }}{{ loop.previtem }}{{ loop.nextitem }}
{% endfor %}""",
    "loop_over_generator": "{% for x in words | map('upper') %}{{ loop.index }}/{{ loop.length }} {{ x }}{{ ',' if not loop.last }}{% endfor %}",
    "loop_filtered": "{% for x in list if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% else %}none{% endfor %}{% for x in list if x > 9 %}x{% else %}none{% endfor %}",
    "loop_else_break": "{% for x in list %}{% break %}{% else %}E{% endfor %}{% for x in list %}{% continue %}{% else %}E{% endfor %}{% for x in list %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% else %}E{% endfor %}",
    "loop_unpack": "{% for k, v in nested.items() %}{{ k }};{% endfor %}{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "loop_unpack_error": "{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}",
    "loop_over_string": "{% for c in 'dé世' %}{{ c }}.{% endfor %}{% for c in undefined_name %}x{% endfor %}",
    "loop_over_number": "{% for c in 5 %}x{% endfor %}",
    "loop_over_none": "{% for c in nothing %}x{% endfor %}",
    "loop_recursive": "{% for x in [[1, [2, 3]], 4] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}@{{ loop.depth }}{% endif %}{% endfor %}",
    "loop_not_recursive": "{% for x in [[1]] %}{{ loop(x) }}{% endfor %}",
    "loop_scope": "{% set x = 1 %}{% for i in list %}{{ x }}{% set x = i %}{{ x }}{% endfor %}{{ x }}{{ i is defined }}{{ loop is defined }}",
    "nested_loops": "{% for a in [1, 2] %}{% set outer = loop %}{% for b in 'xy' %}{{ outer.index }}{{ loop.index }}{{ a }}{{ b }} {% endfor %}{% endfor %}",
    "generator_is_true": "{% if words | select('equalto', 'zzz') %}true{% else %}false{% endif %}{% if words | select('equalto', 'zzz') | list %}true{% else %}false{% endif %}",
    "generator_once": "{% set g = words | map('upper') %}{{ g | join }}|{{ g | join }}",
    "generator_length": "{{ words | map('upper') | length }}",
    "generator_last": "{{ words | map('upper') | last }}",
    "lazy_condition": "{% set ns = namespace(n=0) %}{% for x in list if ns.n < 2 %}{% set ns.n = ns.n + 1 %}{{ x }}{% endfor %}",
    "if_chain": "{% if nothing %}a{% elif empty %}b{% elif list %}c{% else %}d{% endif %}{% if not list %}x{% endif %}{% if '' %}{% else %}e{% endif %}",
    "if_scope": "{% if true %}{% set a = 1 %}{% endif %}{{ a }}{% if false %}{% set b = 1 %}{% endif %}{{ b is defined }}",
    "set_tuple": "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = 1, 2 %}{{ c }}{% set (d, e) = [3, 4] %}{{ d }}{{ e }}",
    "set_block": "{% set a %}  x {{ number }}\n {% endset %}[{{ a }}]{% set b | upper | trim %}  abc {% endset %}[{{ b }}]{% set c | replace('a', 'b') %}aaa{% endset %}{{ c }}",
    "set_block_scope": "{% set a %}{% set inner = 1 %}{{ inner }}{% endset %}{{ a }}{{ inner is defined }}",
    "set_attribute_error": "{% set nested.a = 1 %}",
    "namespaces": "{% set ns = namespace(a=1, l=[]) %}{% for i in list %}{% set ns.a = ns.a + i %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.a }}{{ ns.l }}{{ ns['a'] }}{{ ns.missing is defined }}",
    "with": "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% set c = 3 %}{% endwith %}{{ a }}{{ c is defined }}{% with %}{% set z = 1 %}{{ z }}{% endwith %}",
    "macros": "{% macro m(a, b=2, c=a) %}[{{ a }},{{ b }},{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(a=5, c=7) }}{{ m() }}{{ m.name }}{{ m.arguments }}",
    "macro_too_many": "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "macro_unknown_keyword": "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}",
    "macro_varargs": "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}{{ m(1) }}",
    "macro_scope": "{% set g = 1 %}{% macro m() %}{{ g }}{{ later }}{% set g = 5 %}{{ g }}{% endmacro %}{% set later = 'L' %}{{ m() }}{{ g }}",
    "macro_recursion": "{% macro f(n) %}{{ n }}{% if n > 0 %},{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "macro_result": "{% macro m() %} x {% endmacro %}{% set r = m() %}[{{ r | trim }}]{{ r is string }}{{ m() ~ m() }}{% if m() %}yes{% endif %}",
    "macro_in_loop": "{% for i in [1, 2] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}",
    "call_blocks": "{% macro box(t) %}<{{ t }}>{{ caller() }}</{{ t }}>{% endmacro %}{% call box('b') %}in {{ number }}{% endcall %}{% macro each(l) %}{% for i in l %}{{ caller(i, loop.index) }}{% endfor %}{% endmacro %}{% call(x, n=0) each(list) %}{{ x }}@{{ n }} {% endcall %}",
    "caller_missing": "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}",
    "caller_optional": "{% macro m(caller=none) %}{{ caller() if caller else 'none' }}{% endmacro %}{{ m() }}{% call m() %}c{% endcall %}",
    "filter_block": "{% filter upper | replace('A', 'o') %}banana {{ words[0] }}{% endfilter %}",
    "unpack_arguments": "{% macro m(a, b, c=0) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(1, **{'b': 2, 'c': 3}) }}{{ dict(**{'x': 1}) }}",
    "block_tag": "{% block body %}in block {{ number }}{% endblock %}{% block other scoped %}x{% endblock other %}",
    "raw": "{% raw %}{{ x }} {% if %}{# c #}{% endraw %}|{%- raw -%}  y  {%- endraw -%}  |",
    "comments": "a{# x #}b{#- y -#} c {# multi\nline #}\nd\n  {# own line #}\ne",
    "white_space": "a\n  {% if true %}\n    b\n  {% endif %}\nc {% if true %} d {% endif %} e\n{%- if true -%}\n f \n{%- endif %}\n  {{ number }}\n  {{- number -}}  \n g\n{%+ if true %}h{% endif +%}\n i\n\t{% set z = 1 %}\n j",
    "white_space_inline": "x {% if true %}y{% endif %} {% set a = 1 %}\n  z{% if true %}\n{% endif %}\n\n\nw\n",
    "line_ends": "a\r\nb\rc\n{% if true %}\r\nd{% endif %}\r\n{{ 'x\r\ny' | length }}\n\n",
    "trailing_newlines": "a\n\n",
    "only_newline": "\n",
    "in_strings": "{{ '}}' }}{{ '%}' }}{{ \"{{ x }}\" }}{% if '%}' == '%}' %}ok{% endif %}{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a': {}} }}",
    "minus_is_not_control": "{{ 1 -1 }}{{ -1 }}{{-1}}{{ 1 - -1 }} {{- 2 }}",
    "lone_braces": "{ } {a} %} }} #} { { % {",
    "pipes_and_tests": "{{ words | length is gt 2 }}{{ (words | length) is gt(2) and words is defined }}{{ 'a' if words is defined and words else 'b' }}",
    "autonumbers": "{{ (1, 2, 3).1 }}{{ [[1, 2], [3, 4]].1.0 }}",
    "multi_line_expression": "{{ [\n 1,\n 2,\n] | join(\n ','\n) }}{% set x = {\n 'a': 1,\n} %}{{ x.a }}",
    "unknown_filter": "{{ 1 | nofilter }}",
    "unknown_filter_untaken": "{% if false %}{{ 1 | nofilter }}{% endif %}ok{{ 'a' if true else (1 | nofilter) }}",
    "unknown_test": "{{ 1 is notest }}",
    "unknown_tag": "{% nonsense %}",
    "unclosed_if": "{% if true %}x",
    "unclosed_for": "{% for x in list %}",
    "wrong_end": "{% if true %}{% endfor %}",
    "unclosed_comment": "a {# b",
    "unclosed_raw": "{% raw %}x",
    "unclosed_string": "{{ 'abc }}",
    "unclosed_variable": "{{ 1 ",
    "bad_operator": "{{ 1 ! 2 }}",
    "bad_brackets": "{{ (1] }}",
    "empty_expression": "{{ }}",
    "missing_operand": "{{ 1 + }}",
    "assign_to_constant": "{% set true = 1 %}",
    "else_alone": "{% else %}",
    "break_outside": "{% break %}",
    "include": "{% include 'x' %}",
    "do_tag": "{% do list %}",
    "deep_attribute_error": "{{ people[0].missing.more }}",
    "error_in_macro": "{% macro m() %}{{ 1 / 0 }}{% endmacro %}\n{{ m() }}",
    "assignment_in_loop_is_lost": "{% set found = false %}{% for w in words %}{% if w == 'fig' %}{% set found = true %}{% endif %}{% endfor %}{{ found }}",
    "generation_block": "{% for w in words %}{% generation %}{{ w }}{% set q = 1 %}{% endgeneration %}{{ q is defined }}{% endfor %}",
    "joiner_cycler": "{% set j = joiner(', ') %}{% set c = cycler('odd', 'even') %}{% for w in words %}{{ j() }}{{ c.next() }}{{ w }}{% endfor %}{{ c.current }}{% set _ = c.reset() %}{{ c.current }}",
    "loop_index_in_filter": "{% for w in words if w != 'fig' %}{{ loop.index }}{{ w }}{% endfor %}",
    "for_with_condition_expression": "{% for x in (list if yes else words) %}{{ x }}{% endfor %}",
    "for_tuple": "{% for x in 1, 2, 3 %}{{ x }}{% endfor %}",
    "chained_filters_on_calls": "{{ text.strip().split('\n')[0].split(',')[1].strip() | lower | replace('!', '?') }}",
    "dict_methods_shadow": "{{ nested.items is callable }}{{ nested['items'] }}{{ nested.get is callable }}{% for k in nested %}{{ k }},{% endfor %}",
    "dict_views": "{{ {'a': 1}.items() }}{{ {'a': 1}.keys() }}{{ {'a': 1}.values() }}{{ {'a': 1}.keys() | length }}{{ {'a': 1}.keys()[0] is defined }}",
    "string_of_things": "{{ range(3) }}{{ (1, 2) }}{{ [none, true, 1.0, 'x'] }}{{ {'a': [1, (2,)]} }}{{ 'x' | list }}",
    "long_chain": "{{ 'a'" + " + 'b'" * 80 + " }}",
}

"""The preset texts of the exhibit: a few hundred bytes each of what the embedded models were trained on."""

ENGLISH = """\
Once upon a time an old fisherman lived with his wife in a small house by the sea. Every morning he rowed out beyond the rocks, and \
every evening he came home with a basket of herrings and a story. One day the net was so heavy that he thought he had caught the moon \
itself; but when he had drawn it up there was nothing in it but a little brass key. “What does it open?” asked his wife. “That,” said \
the old man, “is what we shall find out tomorrow.”
"""

POEM = """\
床前明月光，疑是地上霜。举头望明月，低头思故乡。
白日依山尽，黄河入海流。欲穷千里目，更上一层楼。
朝辞白帝彩云间，千里江陵一日还。两岸猿声啼不住，轻舟已过万重山。
月落乌啼霜满天，江枫渔火对愁眠。姑苏城外寒山寺，夜半钟声到客船。
"""

PYTHON = '''\
class Stack:
    """A last-in, first-out queue."""

    def __init__(self, items=()):
        self._items = list(items)

    def push(self, item):
        self._items.append(item)

    def pop(self, default=None):
        if not self._items:
            return default
        return self._items.pop()

    def __len__(self):
        return len(self._items)


def mean(values):
    total = 0.0
    for i, value in enumerate(values):
        total += (value - total) / (i + 1)
    return total
'''

OWN = "The moon is bright tonight.\n举头望明月\nprint(2 + 2)\n"  # where a text of one's own begins

# preset -> its parts: (domain, text)
PRESETS = {
    "mixed": (
        ("story", f"{ENGLISH[:176]}\n"),
        ("quatrain", POEM[: POEM.index("朝")]),
        ("python", PYTHON[PYTHON.index("def mean") :]),
    ),
    "english": (("story", ENGLISH),),
    "poem": (("quatrain", POEM),),
    "python": (("python", PYTHON),),
}

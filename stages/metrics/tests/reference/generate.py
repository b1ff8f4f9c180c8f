"""Writes english.json and chinese.json beside this file: rows, and what the reference tools make of them.

Needs sacrebleu 2.6.0, rouge_score 0.1.2, rouge-chinese 1.0.3, jieba 0.42.1, nltk. Run: python generate.py
The rows are made up from the templates below and damaged at random, so that every rule of every tokenizer is met.
"""
import json
import logging
import pathlib
import random

import jieba
import sacrebleu
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from rouge_chinese import Rouge
from rouge_score import rouge_scorer

jieba.setLogLevel(60)
logging.getLogger("sacrebleu").setLevel(logging.ERROR)
HERE = pathlib.Path(__file__).parent
ROWS = 520

ENGLISH = {
    "subjects": "The help desk|Your manager|An engineer|The VPN client|Room 4.17|Our mail server|Nobody|The printer's queue|Alice & Bob|A state-of-the-art laptop".split("|"),
    "verbs": "resets|will restart|doesn't accept|has approved|needs to update|is checking|cannot find|re-installed".split("|"),
    "objects": "the password|version 2.10.3|the U.S. proxy|3,000 mailboxes|the “quoted” file|C:\\Temp\\log.txt|x86_64-linux|50% of the licences|$19.99 per seat|user@example.com|the form (page 3-4)|café tickets|naïve users".split("|"),
    "endings": "before 9:30 a.m.|, then calls back|; see https://intranet/help?id=7&x=1|- it takes 10-15 minutes|!|?|...|within the first week.|as soon as possible|\nSecond line: call 1-800-555.\nThird line.".split("|"),
    "noise": ["&quot;yes&quot;", "&amp;", "&amp;lt;b&amp;gt;", "<skipped>", "so-\ncalled", "🙂", "👩‍💻", "中文", "\t", "  ", "~{x}|[y]`^_", "Ünïcödé", "K", "İstanbul", "ﬁnal", "1.", ".5", "a.b", "3.x", "—", "…", "\u00a0", "\u2028", "\x1c", "#1", "€5"],
}
CHINESE = {
    "subjects": "服务台|你的经理|工程师小李|VPN客户端|三楼会议室|邮件服务器|行政部门|打印机队列|张三和李四|新员工|IT部|财务共享中心".split("|"),
    "verbs": "负责重置|会重新启动|不接受|已经批准|需要更新|正在检查|找不到|重新安装了|统一采购".split("|"),
    "objects": "登录密码|2.10.3版本|代理服务器|3,000个邮箱|“引用”的文件|C:\\Temp\\log.txt|x86_64-linux镜像|50%的授权|19.99元的年费|user@example.com|申请表（第3-4页）|蓝牙耳机|ThinkPad笔记本|移动办公设备|WES-5.4.5补丁|v1.2.3-beta|AT&T专线|C++运行库|B超报告|卡拉OK".split("|"),
    "endings": "。|，然后回电话。|；详见https://intranet/help?id=7。|，需要10-15分钟|！|？|……|...... 请稍候|。\n第二行：请拨打1-800-555。\n第三行。|。\n\n\n另起一段|，尽快处理。”他说。|呢？？！|。 \n 好".split("|"),
    "noise": ["&quot;", "&amp;", "<skipped>", "🙂", "👩‍💻", "hello world", "\t", "　", "　　", "㐀", "𠀀", "〇", "々", "カタカナ", "한국어", "①", "℃", "—", "·", "％", "Ａ１", "1.5", "3.14%", "a.b", "a-.b", "_x", "1.2.x", "a.5b", "--", "％", "+86", "#1", "龥", "鿕", "鿖", "\r\n", "\x1c", "", "量子", "区块链"],
}


def sentence(part, joiner):
    pick = lambda key: random.choice(part[key])
    return joiner.join([pick("subjects"), pick("verbs"), pick("objects")]) + ("" if joiner == "" else " ") + pick("endings")


def damage(text, part, joiner):
    pieces = text.split(" ") if joiner else list(text)
    for _ in range(random.randint(0, 5)):
        at = random.randrange(len(pieces) + 1)
        action = random.randrange(5)
        if action == 0:
            pieces.insert(at, random.choice(part["noise"]))
        elif action == 1 and pieces:
            del pieces[min(at, len(pieces) - 1)]
        elif action == 2 and len(pieces) > 1:
            i, j = random.randrange(len(pieces)), random.randrange(len(pieces))
            pieces[i], pieces[j] = pieces[j], pieces[i]
        elif action == 3 and pieces:
            pieces.insert(at, random.choice(pieces))
        elif action == 4 and pieces:
            i = min(at, len(pieces) - 1)
            pieces[i] = pieces[i].upper() if random.random() < 0.5 else random.choice(part["objects"])
    return joiner.join(pieces)


def rows(part, joiner, blanks):
    made = [["", ""], ["", "x 中"], ["x 中", ""], [" \n\t", "a 一"], ["a", "a"], ["一", "一"], ["。", "。"], ["!", "!"], [" \u3000", "\u3000"]] + blanks
    while len(made) < ROWS:
        reference = sentence(part, joiner)
        if random.random() < 0.2:
            reference = damage(reference + sentence(part, joiner), part, joiner)
        kind = random.random()
        if kind < 0.08:
            prediction = reference
        elif kind < 0.2:
            prediction = sentence(part, joiner)
        elif kind < 0.25:
            prediction = reference[: random.randrange(len(reference) + 1)]
        else:
            prediction = damage(reference, part, joiner)
        made.append([prediction, reference])
    return made


def corpus_bleu(pairs, tokenize):
    metric = sacrebleu.metrics.BLEU(tokenize=tokenize)
    score = metric.corpus_score([p for p, _ in pairs], [[r for _, r in pairs]]).score
    sentence_metric = sacrebleu.metrics.BLEU(tokenize=tokenize, effective_order=True)
    return {
        "score": score,
        "signature": str(metric.get_signature()),
        "rows": [round(sentence_metric.sentence_score(p, [r]).score, 7) for p, r in pairs],
    }


def rouge_rows(pairs):
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=False)
    made = [scorer.score(r, p) for p, r in pairs]
    return {key: [round(row[key].fmeasure, 8) for row in made] for key in made[0]}


def lf_rows(pairs):
    """LLaMA-Factory, src/llamafactory/train/sft/metric.py."""
    made = {"rouge-1": [], "rouge-2": [], "rouge-l": [], "bleu-4": []}
    for prediction, label in pairs:
        hypothesis, reference = list(jieba.cut(prediction)), list(jieba.cut(label))
        if len(" ".join(hypothesis).split()) == 0 or len(" ".join(reference).split()) == 0:
            result = {key: {"f": 0.0} for key in ("rouge-1", "rouge-2", "rouge-l")}
        else:
            result = Rouge().get_scores(" ".join(hypothesis), " ".join(reference))[0]
        for key, value in result.items():
            made[key].append(round(value["f"] * 100, 4))
        bleu = sentence_bleu([list(label)], list(prediction), smoothing_function=SmoothingFunction().method3)
        made["bleu-4"].append(round(bleu * 100, 4))
    return made


def write(name, value):
    """One row of text a line, so that a change shows as one."""

    def lines(item):
        if isinstance(item, list) and not all(isinstance(x, float) for x in item):
            return "[\n" + ",\n".join(json.dumps(x, ensure_ascii=False) for x in item) + "\n]"
        return json.dumps(item, ensure_ascii=False)

    text = ",\n".join(f"{json.dumps(key)}: {lines(item)}" for key, item in value.items())
    (HERE / name).write_text("{\n" + text + "\n}\n", encoding="utf-8")


random.seed(20261123)
english = rows(ENGLISH, " ", [["a\nb c\nd", "a b\nc d"], ["x" * 3, "running runs ran"]])
write("english.json", {"rows": english, "bleu_13a": corpus_bleu(english, "13a"), "rouge": rouge_rows(english)})
chinese = rows(CHINESE, "", [["？？", "？ ？"], ["。 \n \n好", "。\n\n好"], ["......好", "……好"]])
write(
    "chinese.json",
    {
        "rows": chinese,
        "bleu_zh": corpus_bleu(chinese, "zh"),
        "bleu_13a": corpus_bleu(chinese, "13a")["score"],
        "rouge": {key: sum(values) / ROWS for key, values in rouge_rows(chinese).items()},
        "llamafactory": lf_rows(chinese),
        "jieba": [list(jieba.cut(reference)) for _, reference in chinese[:300]],
    },
)

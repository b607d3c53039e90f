"""The treatments a new installation offers: an example catalogue, for the clinic to replace with its own."""

from typing import Any

from core.ids import new_id


def projects() -> list[dict[str, Any]]:
    """Return the example projects as rows."""
    return [dict(zip(_COLUMNS, row, strict=True)) | {"id": new_id()} for row in _ROWS]


_COLUMNS = (
    "code",
    "name",
    "category",
    "description",
    "price_min_yuan",
    "price_max_yuan",
    "duration_minutes",
    "recovery_days",
    "interests",
    "contraindications",
)
# fmt: off
_ROWS: tuple[tuple[Any, ...], ...] = (
    ("hydra-basic", "水光补水护理", "皮肤管理", "注射透明质酸改善皮肤干燥与暗沉，适合初次尝试的客户。", 680, 1580, 45, 2,
     ["hydration", "skin"], ["怀孕", "透明质酸过敏"]),
    ("photo-rejuvenation", "光子嫩肤", "激光美肤", "强脉冲光改善色斑、毛孔与肤色不均，通常三至五次为一个疗程。", 1280, 2680, 30, 3,
     ["skin", "laser"], ["怀孕", "光敏性疾病", "近期暴晒"]),
    ("pico-laser", "皮秒激光", "激光美肤", "皮秒激光淡化色斑与痘印，治疗后需要严格防晒。", 2980, 6800, 40, 7,
     ["laser", "skin"], ["怀孕", "光敏性疾病", "瘢痕体质"]),
    ("botulinum", "肉毒素除皱", "抗衰", "改善眉间纹、鱼尾纹等动态皱纹，效果维持约四至六个月。", 1200, 4800, 20, 1,
     ["antiaging"], ["怀孕", "肉毒素过敏", "重症肌无力"]),
    ("thermage", "热玛吉紧致", "抗衰", "射频加热刺激胶原再生，用于面部紧致与轮廓提升。", 12800, 26800, 90, 3,
     ["antiaging", "contour"], ["怀孕", "心脏起搏器"]),
    ("double-eyelid", "双眼皮手术", "眼部年轻化", "埋线或切开法重睑手术，术前需要面诊评估。", 6800, 18800, 90, 14,
     ["eyes"], ["凝血功能障碍", "瘢痕体质", "怀孕"]),
    ("hair-transplant", "毛发移植", "植发养发", "毛囊单位提取移植，按移植数量计价，效果六至十二个月显现。", 9800, 36800, 360, 10,
     ["hair"], ["凝血功能障碍", "糖尿病"]),
    ("teeth-whitening", "冷光美白", "美学牙科", "冷光技术改善牙齿着色，当天可见效果。", 880, 1980, 60, 1,
     ["dental"], ["怀孕", "牙本质过敏"]),
)
# fmt: on

from . import (
    compress as compress,
)
from . import (
    data as data,
)
from . import (
    evaluation as evaluation,
)
from . import (
    export as export,
)
from . import (
    knowledge as knowledge,
)
from . import (
    losses as losses,
)
from . import (
    models as models,
)
from . import (
    serving as serving,
)
from . import (
    teachers as teachers,
)
from .distiller import (
    Distiller as Distiller,
)
from .distiller import (
    GradientAccumulation as GradientAccumulation,
)
from .distiller import (
    GradientNormBalance as GradientNormBalance,
)
from .distiller import (
    LossRatioBalance as LossRatioBalance,
)
from .distiller import (
    Schedule as Schedule,
)
from .evaluation import (
    ValidationNDCG as ValidationNDCG,
)
from .evaluation import (
    evaluate as evaluate,
)
from .evaluation import (
    evaluate_ranking as evaluate_ranking,
)
from .evaluation.baselines import EASE as EASE
from .evaluation.baselines import popularity as popularity
from .evaluation.teacher_report import compare_teachers as compare_teachers
from .knowledge import (
    CachedTeacher as CachedTeacher,
)
from .knowledge import (
    cache_item_vectors as cache_item_vectors,
)
from .knowledge import (
    cache_teacher as cache_teacher,
)
from .knowledge import (
    cross_fit as cross_fit,
)
from .knowledge import (
    scrambled as scrambled,
)
from .serving import Ranker as Ranker
from .serving import Recommender as Recommender

__version__: str

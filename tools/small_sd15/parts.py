"""The sizes of the small model's parts, in diffusers' and transformers' own terms."""

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

PROMPT_TOKENS = 16  # the longest caption has 15 with both end marks
TEXT_WIDTH = 64


def new_vae():
    """32 x 32 x 3 pixels to 8 x 8 x 4 latents."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(12, 24, 48),
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=32,
        force_upcast=False,
    )


def new_text_encoder(vocabulary_size, end_token):
    config = CLIPTextConfig(
        vocab_size=vocabulary_size,
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=PROMPT_TOKENS,
        hidden_act="quick_gelu",
        projection_dim=TEXT_WIDTH,
        bos_token_id=end_token - 1,
        eos_token_id=end_token,
        pad_token_id=end_token,
    )
    return CLIPTextModel(config)


def new_unet(in_channels=4):
    """Attention at 4 x 4 latents only: a training step costs two thirds of one with attention at 8 x 8 as well."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(48, 96),
        layers_per_block=1,
        norm_num_groups=16,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
    )
